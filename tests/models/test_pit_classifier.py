"""The PIT token classifier: one permutation per utterance for all levels, exact ends, padding."""

import numpy as np
import pytest
import torch

from codecsep.codecs import fbank
from codecsep.codecs.encoders import EncoderConfig
from codecsep.decode.options import DecodeOptions
from codecsep.models import pit_classifier
from codecsep.models.base import ModelError
from codecsep.nn.transformer import TransformerConfig

TINY = TransformerConfig(num_layers=1, width=16, num_heads=2, ffn_width=32)


def tiny_model():
    torch.manual_seed(0)
    encoder = EncoderConfig(kind="fbank", fbank=fbank.Config(num_mels=20, conv_blocks=1, transformer=TINY))
    return pit_classifier.Model(pit_classifier.Config(encoder=encoder, num_codebooks=3, codebook_size=6)).eval()


def example(first, second, seed=1):
    random = np.random.default_rng(seed)
    wav = random.standard_normal(320 * max(first, second)).astype(np.float32) * 0.1
    return {"id": "a", "mixture": wav, "codes": [random.integers(0, 6, (3, first)), random.integers(0, 6, (3, second))]}


def test_swapping_the_speakers_leaves_the_loss_but_swapping_one_level_does_not():
    model, made = tiny_model(), example(8, 5)
    loss = model.loss(model.collate([made]))[0]
    swapped = made | {"codes": made["codes"][::-1]}
    torch.testing.assert_close(model.loss(model.collate([swapped]))[0], loss)
    equal = example(8, 8)
    base = model.loss(model.collate([equal]))[0]
    first, second = (c.copy() for c in equal["codes"])
    first[1], second[1] = equal["codes"][1][1], equal["codes"][0][1]
    mixed = model.loss(model.collate([equal | {"codes": [first, second]}]))[0]
    assert abs(float((mixed - base).detach())) > 1e-4


def test_pair_losses_equal_a_slow_twin():
    torch.manual_seed(0)
    logits, codes = torch.randn(2, 4, 2, 3, 7), torch.randint(0, 7, (2, 2, 3, 4))
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    fast = pit_classifier.pair_losses(logits, codes, valid)
    log_probs = logits.log_softmax(-1)
    for b, frames in enumerate((4, 2)):
        for reference in range(2):
            for estimate in range(2):
                parts = [
                    -log_probs[b, t, estimate, k, codes[b, reference, k, t]] for t in range(frames) for k in range(3)
                ]
                torch.testing.assert_close(fast[b, reference, estimate], torch.stack(parts).mean())


def test_loss_does_not_see_padding():
    model = tiny_model()
    alone = model.loss(model.collate([example(8, 5)]))[0]
    both = model.collate([example(8, 5), example(12, 12)])
    torch.testing.assert_close(model.loss({k: v[:1] for k, v in both.items()})[0], alone, atol=1e-5, rtol=1e-5)


def test_end_is_the_likeliest_one():
    present, absent = torch.tensor([0.9, 0.1]).log(), torch.tensor([0.1, 0.9]).log()
    log_probs = torch.stack([present, present, absent, present, absent, absent, absent])[:, None]
    assert pit_classifier.last_frames(log_probs, 1) == [2]
    assert pit_classifier.last_frames(log_probs[:2], 1) == [2]
    assert pit_classifier.last_frames(log_probs[4:], 1) == [0]


def test_separate_gives_every_speaker_codes_within_the_mixture():
    model = tiny_model()
    mixtures = [example(8, 5)["mixture"], example(20, 3, 2)["mixture"]]
    together = model.separate(mixtures, DecodeOptions(), ["a", "b"])
    for mixture, found in zip(mixtures, together, strict=True):
        assert len(found.codes) == 2
        for codes in found.codes:
            assert codes.shape[0] == 3 and codes.shape[1] <= len(mixture) // 320
            assert ((codes >= 0) & (codes < 6)).all()
    alone = model.separate(mixtures[:1], DecodeOptions(), ["a"])[0]
    assert all(torch.equal(a, b) for a, b in zip(alone.codes, together[0].codes, strict=True))


def test_an_example_without_target_or_sound_is_refused_when_the_batch_is_made():
    model = tiny_model()
    with pytest.raises(ModelError, match=r"^E502 utterance a: 0 samples and 0 frames to predict"):
        model.collate([example(8, 5), example(0, 0)])
    assert torch.isfinite(model.loss(model.collate([example(8, 0)]))[0])
