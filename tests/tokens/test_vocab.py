"""Ids: codes, specials and padding never overlap."""

import pytest
import torch

from codecsep.tokens.vocab import Vocab, VocabError


def test_ids_follow_the_codes():
    vocab = Vocab(1024)
    assert (vocab.sos, vocab.sc, vocab.eos, vocab.size, vocab.pad) == (1024, 1025, 1026, 1027, 1027)


def test_every_id_is_exactly_one_thing():
    vocab = Vocab(5)
    ids = torch.arange(-2, 12)
    kinds = vocab.is_code(ids).int() + vocab.is_special(ids).int() + (ids == vocab.pad).int()
    inside = (ids >= 0) & (ids <= vocab.pad)
    assert torch.equal(kinds, inside.int())


def test_names_are_in_id_order():
    vocab = Vocab(12)
    names = vocab.names()
    assert len(names) == vocab.size and names[11] == "code_11" and names[2] == "code_2"
    assert (names[vocab.sos], names[vocab.sc], names[vocab.eos]) == ("<sos>", "<sc>", "<eos>")


def test_empty_codebook_is_refused():
    with pytest.raises(VocabError, match="codebook_size"):
        Vocab(0)
