"""What every model must offer, asked of every file in models/; a new one is tested the day it appears.

The toy sizes come from the recipes' conf/toy/*.yaml, so a model without a toy configuration fails here too.
"""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from codecsep import config
from codecsep.codecs import mini
from codecsep.data.ark import CodecInfo
from codecsep.decode.options import DecodeOptions
from codecsep.models import base
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

ROOT = Path(__file__).resolve().parents[1]
TOYS = sorted({path.resolve() for path in ROOT.glob("egs/*/*/conf/toy/*.yaml")})  # recipes share some by links


def toys():
    """(model name, network part of its toy YAML) for every toy configuration of a model in models/."""
    found = []
    for path in TOYS:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        if settings.get("model") in base.names():
            found.append(pytest.param(settings["model"], settings["network"], id=f"{path.parts[-4]}-{path.stem}"))
    return found


def make(name, network):
    module = base.load(name)
    torch.manual_seed(0)
    model = module.Model(config.build(module.Config, network, "toy"))
    if hasattr(model, "use_codec"):
        model.use_codec(tiny_codec(getattr(model.config, "codebook_size", 16)))
    return module, model


@cache
def tiny_codec(codebook_size=16):
    """The mini codec with random weights, small: 8 levels, latents of 64 values."""
    sizes = mini.Config(width=16, encoder_blocks=1, decoder_blocks=1, synthesis_blocks=1)
    sizes.quantizer.codebook_size = codebook_size
    info = CodecInfo("mini", "0" * 63 + "1", 16000, 50.0, 320, sizes.quantizer.num_codebooks, codebook_size)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        codec = mini.MiniCodec(mini.Network(sizes), info).eval()
        for level in codec.network.quantizer.levels:  # empty before a training
            level.codes.normal_()
        return codec


def example(model, first=20, second=14, seed=1):
    """Two speakers of so many frames of 20 ms, noise each, with codes and latents."""
    settings, random = model.config, np.random.default_rng(seed)
    size, levels = getattr(settings, "codebook_size", 16), getattr(settings, "num_codebooks", 2)
    hop, frames = model.sample_rate // 50, max(first, second)
    codes = [random.integers(0, size, (levels, n)) for n in (first, second)]
    sources = 0.05 * random.standard_normal((2, hop * frames)).astype(np.float32)
    sources[1, hop * second :] = 0
    latents = random.standard_normal((3, frames, tiny_codec().latent_size)).astype(np.float32)
    made = {"id": f"utt{seed}", "mixture": sources.sum(0), "codes": codes, "sources": sources}
    made |= {"mixture_latents": latents[0], "source_latents": latents[1:]}
    return made | {"sequence": model.sequence(made)}


def test_every_model_has_a_toy_configuration():
    covered = {settings.values[0] for settings in toys()}
    assert covered == set(base.names()), "add conf/toy/*.yaml to the recipe of the model that is missing here"


def test_unknown_model_is_answered_with_the_list():
    with pytest.raises(base.ModelError, match="models/ holds: .*slm_ss"):
        base.load("slm_sss")


@pytest.mark.parametrize(("name", "network"), toys())
def test_config_round_trips_through_yaml(name, network):
    module = base.load(name)
    settings = config.build(module.Config, network, "toy")
    again = config.build(module.Config, yaml.safe_load(config.dump(settings)), "dump")
    assert again == settings
    assert config.build(module.Config, yaml.safe_load(config.dump(module.Config())), "defaults") == module.Config()


@pytest.mark.parametrize(("name", "network"), toys())
def test_loss_is_finite_and_falls_on_two_utterances(name, network):
    _, model = make(name, network)
    batch = model.train().collate([example(model), example(model, 16, 20, 2)])
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 3e-3)
    first = None
    for _ in range(30):
        loss, parts = model.loss(batch)
        assert torch.isfinite(loss) and parts and all(isinstance(v, float) for v in parts.values())
        first = float(loss.detach()) if first is None else first
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert first - float(loss.detach()) > 0.2 * abs(first)  # a loss in dB may be below 0


@pytest.mark.parametrize(("name", "network"), toys())
def test_padding_does_not_change_the_loss(name, network):
    _, model = make(name, network)
    alone = model.eval().collate([example(model)])
    both = model.collate([example(model), example(model, 40, 40, 2)])
    first = {key: value[:1] for key, value in both.items()}
    with torch.no_grad():
        torch.testing.assert_close(model.loss(first)[0], model.loss(alone)[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "network"), toys())
def test_sequence_then_inverse_is_identity(name, network):
    _, model = make(name, network)
    made = example(model)
    if made["sequence"] is None:
        return  # a network that stores no sequence says so by None
    back = sot.split(made["sequence"], Vocab(model.config.codebook_size))
    assert all(np.array_equal(a.numpy(), b) for a, b in zip(back, made["codes"], strict=True))


@pytest.mark.parametrize("name", base.names())
def test_separate_gives_the_speakers_of_each_mixture_whatever_its_batch(name):
    module = base.load(name)
    models = [make(*settings.values)[1].eval() for settings in toys() if settings.values[0] == name]
    separators = [base.join(module, models)] if hasattr(module, "join") else models
    options = DecodeOptions(num_speakers=2)
    for separator in separators:
        mixtures = [example(models[0], n, n, n)["mixture"] for n in (6, 17, 5)]
        together = separator.separate(mixtures, options, ["a", "b", "c"])
        assert len(together) == 3
        for mixture, found, key in zip(mixtures, together, "abc", strict=True):
            alone = separator.separate([mixture], options, [key])[0]
            check(found, models[0].config, len(mixture))
            for first, again in zip(speakers(found), speakers(alone), strict=True):
                torch.testing.assert_close(first, again, atol=1e-4, rtol=1e-3)


def speakers(found):
    return [*found.codes, *found.latents, *found.waves]


def check(found, settings, length):
    """Two speakers, in one of the three ways."""
    assert sorted(map(len, (found.codes, found.latents, found.waves))) == [0, 0, 2]
    for codes in found.codes:
        assert codes.dtype == torch.int64 and codes.shape[0] == settings.num_codebooks
        assert ((codes >= 0) & (codes < settings.codebook_size)).all()
    for latents in found.latents:
        assert latents.dtype == torch.float32 and latents.shape[1] == tiny_codec().latent_size
    for wave in found.waves:
        assert wave.dtype == torch.float32 and wave.shape == (length,)
