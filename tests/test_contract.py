"""What every model must offer, asked of every file in models/; a new one is tested the day it appears.

The toy sizes come from the recipes' conf/toy/*.yaml, so a model without a toy configuration fails here too.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from codecsep import config
from codecsep.decode.options import DecodeOptions
from codecsep.models import base
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

ROOT = Path(__file__).resolve().parents[1]
TOYS = sorted(ROOT.glob("egs/*/*/conf/toy/*.yaml"))


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
    return module, module.Model(config.build(module.Config, network, "toy"))


def example(model, first=20, second=14, seed=1):
    """Two speakers, each a tone whose pitch belongs to its codes, so that there is something to learn."""
    settings, random = model.config, np.random.default_rng(seed)
    codes = [random.integers(0, settings.codebook_size, (settings.num_codebooks, n)) for n in (first, second)]
    wav = 0.05 * random.standard_normal(320 * max(first, second)).astype(np.float32)
    made = {"id": f"utt{seed}", "mixture": wav, "codes": codes, "sources": np.stack([wav / 2, wav / 2])}
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
    assert float(loss.detach()) < 0.8 * first


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
def test_separate_gives_codes_of_each_mixture_whatever_its_batch(name):
    module = base.load(name)
    models = [make(*settings.values)[1].eval() for settings in toys() if settings.values[0] == name]
    separator = base.join(module, models)
    size, levels = models[0].config.codebook_size, models[0].config.num_codebooks
    mixtures = [example(models[0], n, n, n)["mixture"] for n in (6, 17, 1)]
    options = DecodeOptions(num_speakers=2)
    together = separator.separate(mixtures, options, ["a", "b", "c"])
    assert len(together) == 3
    for mixture, found, key in zip(mixtures, together, "abc", strict=True):
        alone = separator.separate([mixture], options, [key])[0]
        assert len(found.codes) == 2
        for codes, again in zip(found.codes, alone.codes, strict=True):
            assert codes.dtype == torch.int64 and codes.shape[0] == levels
            assert ((codes >= 0) & (codes < size)).all()
            assert torch.equal(codes, again)
