"""The PIT classifier on codes: every codec, padding, the pooling over codebooks; its Conformer."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from codecsep.codecs.latent_codec import LatentCodec
from codecsep.data.ark import CodecInfo
from codecsep.decode.options import DecodeOptions
from codecsep.models import pit_classifier_codes
from codecsep.models.base import ModelError
from codecsep.nn.conformer import Conformer, ConformerConfig
from codecsep.nn.transformer import TransformerConfig

sys.path.append(str(Path(__file__).resolve().parents[1] / "codecs"))
from toy_codecs import TOYS, install  # noqa: E402

HOP, LEVELS, SIZE = 4, 3, 8
INFO = CodecInfo("toy", "f0", 100, 25.0, HOP, LEVELS, SIZE)


class Counting(LatentCodec):
    """The code of level k in a frame: how often its samples exceed k / 8, 25 frames a second."""

    latent_size = HOP

    def latents(self, wav, lengths):
        return torch.nn.functional.pad(wav, (0, -wav.shape[1] % HOP)).unflatten(1, (-1, HOP)), -(-lengths // HOP)

    def quantize(self, latents):
        return torch.stack([(latents > level / 8).sum(-1) for level in range(LEVELS)], 1)

    def embed(self, codes):
        raise AssertionError("not asked for")

    synthesise = embed


def model(network="conformer", codec=None, seed=0):
    torch.manual_seed(seed)
    codec = codec or Counting(INFO).eval()
    sizes = pit_classifier_codes.Config(codec.info.num_codebooks, codec.info.codebook_size, embedding_width=8)
    sizes.network, sizes.conformer = network, ConformerConfig(2, 16, 2, 16, kernel=5)
    sizes.transformer = TransformerConfig(1, 16, 2, 16)
    made = pit_classifier_codes.Model(sizes)
    made.use_codec(codec)
    return made.eval()


def example(first, second, seed=1):
    random = np.random.default_rng(seed)
    wav = random.uniform(-1, 1, HOP * max(first, second)).astype(np.float32)
    codes = [random.integers(0, SIZE, (LEVELS, frames)) for frames in (first, second)]
    return {"id": "a", "mixture": wav, "codes": codes}


def test_the_mixture_is_read_through_its_codes_alone():
    """What leaves the codes as they are leaves the logits as they are; a code that changes is seen in every frame."""
    network, wav = model(), torch.tensor(example(6, 6)["mixture"])[None]
    lengths = torch.tensor([24])
    logits, valid = network.logits(wav, lengths)
    assert logits.shape == (1, 6, 2, LEVELS, SIZE + 1) and valid.all()
    shuffled = wav.unflatten(1, (-1, HOP)).flip(2).flatten(1)  # the same samples in each frame
    assert torch.equal(network.logits(shuffled, lengths)[0], logits)
    changed = wav.clone()
    changed[0, 8:12] = -1 if wav[0, 8:12].max() > 0 else 1
    moved = (network.logits(changed, lengths)[0] - logits).abs().amax((2, 3, 4))[0]
    assert (moved > 1e-6).all()


def test_pooling_equals_a_slow_twin():
    encoder = model().encoder
    codes = torch.randint(0, SIZE, (2, LEVELS, 5))
    pooled = encoder.pooled(codes)
    for row in range(2):
        for frame in range(5):
            vectors = torch.stack([encoder.tables[k].weight[codes[row, k, frame]] for k in range(LEVELS)])
            weights = torch.tensor([float(encoder.score(vector).detach()) for vector in vectors]).softmax(0)
            torch.testing.assert_close(pooled[row, frame], weights @ vectors)


@pytest.mark.parametrize("network", ["conformer", "transformer"])
def test_neither_padding_nor_the_batch_is_seen(network):
    made = model(network)
    alone = made.loss(made.collate([example(8, 5)]))[0]
    both = made.collate([example(8, 5), example(40, 33, 2)])
    first = {key: value[:1] for key, value in both.items()}
    torch.testing.assert_close(made.loss(first)[0], alone, atol=1e-5, rtol=1e-5)
    first["wav"][:, 32:] = 1.0  # behind the end
    torch.testing.assert_close(made.loss(first)[0], alone, atol=1e-5, rtol=1e-5)
    waves = [example(n, n, n)["mixture"] for n in (5, 19)]
    together = made.separate(waves, DecodeOptions(), ["a", "b"])
    for wave, found in zip(waves, together, strict=True):
        again = made.separate([wave], DecodeOptions(), ["a"])[0]
        assert all(torch.equal(one, other) for one, other in zip(found.codes, again.codes, strict=True))


def test_in_training_a_row_of_the_conformer_is_its_own_too():
    torch.manual_seed(0)
    network = Conformer(ConformerConfig(2, 16, 2, 16, 5, 0.0)).train()
    hidden = torch.randn(2, 9, 16)
    valid = torch.tensor([[True] * 6 + [False] * 3, [True] * 9])
    torch.testing.assert_close(network(hidden, valid)[:1, :6], network(hidden[:1, :6], valid[:1, :6]))


def test_gradients_reach_all_but_the_codec():
    made = model().train()
    loss, _ = made.loss(made.collate([example(8, 5)]))
    loss.backward()
    assert all(value.grad is not None and torch.isfinite(value.grad).all() for value in made.parameters())
    assert set(made.state_dict()) == {name for name, _ in made.named_parameters()} | {"encoder.codec_fingerprint"}


def test_codecs_that_do_not_fit_are_refused():
    made = model()
    with pytest.raises(ModelError, match=r"^E508 --codec: toy has 4 x 8 codes, the network is for 3 x 8"):
        made.use_codec(Counting(CodecInfo("toy", "f0", 100, 25.0, HOP, 4, SIZE)))
    with pytest.raises(ModelError, match=r"^E508 --codec: trained with a codec of fingerprint"):
        made.use_codec(Counting(CodecInfo("toy", "f1", 100, 25.0, HOP, LEVELS, SIZE)))
    bare = pit_classifier_codes.Model(made.config)
    with pytest.raises(ModelError, match=r"^E508 .*--codec"):
        bare.sample_rate  # noqa: B018 -- it is asked for


@pytest.mark.parametrize("name", sorted(TOYS))
def test_every_codec(name, tmp_path):
    """Codes of the mixture in, codes of the same frames out, at the codec's own rate."""
    codec = install(name, tmp_path)
    made = model(codec=codec)
    assert made.sample_rate == codec.info.sample_rate
    size = codec.info.sample_rate // 4
    waves = 0.1 * torch.randn(2, size)
    codes, frame_lengths = codec.encode(waves, torch.tensor([size, size]))
    example = {"id": "a", "mixture": waves[0].numpy(), "codes": [codes[0].numpy(), codes[1, :, :4].numpy()]}
    logits, valid = made.logits(waves, torch.tensor([size, size]))
    assert valid.sum(1).tolist() == frame_lengths.tolist() == [codec.num_frames(size)] * 2
    loss, _ = made.train().loss(made.collate([example]))
    loss.backward()
    assert torch.isfinite(loss) and made.encoder.tables[0].weight.grad.any()
    found = made.eval().separate([waves[0].numpy()], DecodeOptions(), ["a"])[0].codes
    assert all(one.shape[0] == codec.info.num_codebooks and one.shape[1] <= codes.shape[2] for one in found)
