"""Separators of waveforms: sizes of the papers, loss, lengths, and a batch that changes nothing."""

import dataclasses
import itertools
import math
import sys

import numpy as np
import pytest
import torch

from codecsep.decode.options import DecodeOptions
from codecsep.models import bsrnn, convtasnet, dprnn, espnet_network, sepformer, tfgridnet
from codecsep.models.base import ModelError
from codecsep.models.waveform import WaveformSeparator
from codecsep.nn.transformer import count_parameters
from codecsep.signal.separation_loss import pair_si_sdr, pit_si_sdr
from codecsep.signal.si_sdr import si_sdr
from codecsep.torch_audio import PackageError
from codecsep.train import optim

OPTIONS = DecodeOptions()
SIZES = {  # millions of parameters at the defaults
    sepformer: 25.679361,  # "25.68 M" of SpeechBrain's WSJ0-2mix recipe
    convtasnet: 3.445809,  # the paper's 5.1 M have a skip path, which ESPnet's network has not
    dprnn: 2.591361,  # "2.6 M" of the paper
    bsrnn: 16.037524,
    tfgridnet: 14.521042,  # "14.5 M" of the paper
}


class Gains(WaveformSeparator):
    """Two copies of the mixture, the second after a peak normalisation, which padding must not see."""

    def __init__(self):
        super().__init__(convtasnet.Config(sample_rate=100))
        self.gain = torch.nn.Parameter(torch.ones(2))

    def estimate(self, wav):
        mean = wav.mean(1, keepdim=True)
        return torch.stack([self.gain[0] * wav, self.gain[1] * (wav - mean)], 1)


@pytest.mark.parametrize("module", SIZES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_sizes_of_the_papers(module):
    with torch.device("cpu" if module is bsrnn else "meta"):  # its sub-bands are computed from tensors
        assert count_parameters(module.Model(module.Config())) / 1e6 == pytest.approx(SIZES[module], abs=1e-6)


def test_sepformer_has_the_names_of_speechbrains_release():
    with torch.device("meta"):
        names = sepformer.Model(sepformer.Config()).state_dict()
    for name in ("encoder.conv1d.weight", "masknet.dual_mdl.1.inter_mdl.mdl.layers.7.self_att.att.in_proj_weight",
                 "masknet.prelu.weight", "masknet.end_conv1x1.weight", "decoder.weight"):  # fmt: skip
        assert name in names
    assert names["decoder.weight"].shape == (256, 1, 16)


@pytest.mark.parametrize(("rate", "bins", "count"), [(8000, 129, 20), (16000, 257, 27), (48000, 481, 34)])
def test_subbands_divide_the_spectrum(rate, bins, count):
    bands = bsrnn.subbands(bins, rate)
    assert len(bands) == count and bands[0][0] == 0 and bands[-1][1] == bins - 1
    assert all(after[0] == before[1] + 1 for before, after in itertools.pairwise(bands))
    if rate == 48000:  # those of the published 48 kHz network
        assert [stop - start + 1 for start, stop in bands] == [5] + [4] * 19 + [10] * 6 + [40] * 7 + [60]


@pytest.mark.parametrize(("length", "kernel", "stride"), [(1, 16, 8), (16, 16, 8), (17, 16, 8), (100, 4, 3)])
def test_no_sample_is_left_out_of_the_frames(length, kernel, stride):
    padded = espnet_network.pad_to_frames(torch.ones(1, length), kernel, stride)
    assert padded.shape[1] >= max(length, kernel) and (padded.shape[1] - kernel) % stride == 0
    assert padded.shape[1] - max(length, kernel) < stride and padded.sum() == length


@pytest.mark.parametrize("module", [convtasnet, sepformer], ids=["espnet", "speechbrain"])
def test_a_missing_package_is_named_with_what_to_do(module, monkeypatch):
    package = "espnet2.enh" if module is convtasnet else "speechbrain.lobes.models"
    monkeypatch.setitem(__import__("sys").modules, package, None)
    monkeypatch.setitem(__import__("sys").modules, f"{package}.separator.tcn_separator", None)
    monkeypatch.setitem(__import__("sys").modules, f"{package}.dual_path", None)
    with pytest.raises(PackageError, match="setup_venv.sh --extras separators"):
        module.Model(module.Config())


def batch_of(*lengths):
    generator = np.random.default_rng(1)
    examples = []
    for length in lengths:
        sources = generator.standard_normal((2, length)).astype(np.float32)
        examples.append({"id": str(length), "mixture": sources.sum(0), "sources": sources})
    return examples


def test_a_row_is_computed_at_its_own_length():
    model = Gains()
    batch = model.collate(batch_of(50, 80, 50))
    rows = model(batch["wav"], batch["lengths"])
    for row, wav, length in zip(rows, batch["wav"], batch["lengths"].tolist(), strict=True):
        torch.testing.assert_close(row[:, :length], model.estimate(wav[None, :length])[0])
        assert not row[:, length:].any()
    rows.sum().backward()
    assert model.gain.grad.abs().min() > 0


def test_loss_is_the_best_assignment_of_every_mixture():
    references = torch.randn(3, 2, 400, generator=torch.Generator().manual_seed(0))
    estimates = references[:, [1, 0]] + 0.5 * torch.randn(3, 2, 400, generator=torch.Generator().manual_seed(1))
    lengths = torch.tensor([400, 300, 200])
    loss, each = pit_si_sdr(estimates, references, lengths)
    for found, estimate, reference, length in zip(each, estimates, references, lengths.tolist(), strict=True):
        orders = [
            np.mean([float(si_sdr(estimate[e, :length], reference[r, :length])) for r, e in enumerate(order)])
            for order in ((0, 1), (1, 0))
        ]
        assert float(found) == pytest.approx(-max(orders), abs=1e-3)
    assert float(loss) == pytest.approx(float(each.mean()), abs=1e-5)
    swapped, _ = pit_si_sdr(estimates[:, [1, 0]], references, lengths)
    assert float(swapped) == pytest.approx(float(loss), abs=1e-5)


def test_what_is_good_enough_does_not_count_unless_all_are():
    reference = torch.randn(2, 2, 500, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 2, 500, generator=torch.Generator().manual_seed(2))
    estimates = reference + noise * torch.tensor([1e-3, 0.3])[:, None, None]  # about 60 and 10 dB
    lengths = torch.tensor([500, 500])
    loss, each = pit_si_sdr(estimates, reference, lengths)
    assert each[0] < -50 and float(loss) == pytest.approx(float(each[1]))
    loss, each = pit_si_sdr(estimates[:1], reference[:1], lengths[:1])
    assert float(loss) == pytest.approx(float(each[0])) and math.isfinite(loss)


def test_silence_has_no_say_and_no_gradient():
    sources = torch.randn(1, 2, 300, generator=torch.Generator().manual_seed(0))
    sources[:, 1] = 0
    estimates = torch.randn(1, 2, 300, generator=torch.Generator().manual_seed(1), requires_grad=True)
    pairs = pair_si_sdr(estimates, sources, torch.tensor([300]))
    assert torch.isfinite(pairs).all() and (pairs[0, 1] == 0).all()
    loss, _ = pit_si_sdr(estimates, sources, torch.tensor([300]))
    loss.backward()
    assert torch.isfinite(estimates.grad).all() and estimates.grad.any()
    silent = torch.zeros(1, 2, 300, requires_grad=True)
    pit_si_sdr(silent, sources, torch.tensor([300]))[0].backward()
    assert not silent.grad.any()


def test_an_example_without_samples_is_refused():
    example = {"id": "x", "mixture": np.zeros(0, np.float32), "sources": np.zeros((2, 0), np.float32)}
    with pytest.raises(ModelError, match="E502.*x"):
        Gains().collate([example])


SMALL = {
    convtasnet: convtasnet.Config(16000, 3, 8, 64, 32, 4, 8, 3, 2, 1),
    dprnn: dprnn.Config(16000, 3, 8, 64, 32, 1, 8, 10),
    bsrnn: bsrnn.Config(16000, 3, 128, 64, 4, 1),
    tfgridnet: tfgridnet.Config(16000, 3, 128, 64, 4, 1, 4, 4, 4, 2, 16),
    sepformer: sepformer.Config(16000, 3, 8, 64, 10, 1, sepformer.PathConfig(1, 2, 8), sepformer.PathConfig(1, 2, 8)),
}
ON_THE_STFT = {"basis": "fourier", "kernel": 128}  # for the three that learn their basis in their papers
SYSTEMS = pytest.mark.parametrize(
    ("module", "changes"),
    [(module, {}) for module in SMALL] + [(module, ON_THE_STFT) for module in (convtasnet, dprnn, sepformer)],
    ids=lambda part: "-".join(part) if isinstance(part, dict) else part.__name__.rpartition(".")[2],
)


def make(module, changes=None):
    torch.manual_seed(0)
    return module.Model(dataclasses.replace(SMALL[module], **(changes or {})))


def three(examples):
    """Examples of two sources with a third, which is silent."""
    return [e | {"sources": np.concatenate([e["sources"], 0 * e["sources"][:1]])} for e in examples]


@SYSTEMS
def test_a_silent_crop_has_a_finite_loss_and_no_say(module, changes):
    model = make(module, changes)
    examples = three(batch_of(900, 900))
    silent = examples[1] | {"mixture": 0 * examples[1]["mixture"], "sources": 0 * examples[1]["sources"]}
    losses, gradients = [], []
    for batch in ([examples[0]], [examples[0], silent]):
        model.zero_grad()
        loss, _ = model.loss(model.collate(batch))
        loss.backward()
        losses.append(float(loss.detach()) * len(batch))
        gradients.append(torch.cat([len(batch) * p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    assert torch.isfinite(gradients[1]).all() and gradients[1].any()
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-3, rtol=1e-2)


@SYSTEMS
def test_estimates_follow_the_level_of_the_mixture_and_nothing_else(module, changes):
    model = make(module, changes).eval()
    mixture = batch_of(700)[0]["mixture"]
    loud, faint = model.separate([mixture, np.float32(1e-3) * mixture], OPTIONS, ["a", "b"])
    for one, other in zip(loud.waves, faint.waves, strict=True):
        torch.testing.assert_close(1e3 * other, one, atol=1e-4, rtol=1e-3)


@SYSTEMS
def test_very_short_and_silent_mixtures_are_separated(module, changes):
    mixtures = [np.ones(1, np.float32), np.zeros(2000, np.float32), batch_of(1999)[0]["mixture"]]
    found = make(module, changes).eval().separate(mixtures, OPTIONS, ["a", "b", "c"])
    assert [[len(wave) for wave in one.waves] for one in found] == [[1] * 3, [2000] * 3, [1999] * 3]
    assert all(torch.isfinite(wave).all() for one in found for wave in one.waves)
    assert not any(wave.any() for wave in found[1].waves) and found[2].waves[0][-40:].any()


def test_two_tones_are_told_apart_after_a_few_steps():
    time = np.arange(1600) / 16000
    sources = np.stack([np.sin(2 * np.pi * hertz * time) for hertz in (300, 2100)]).astype(np.float32)
    torch.manual_seed(0)
    model = convtasnet.Model(convtasnet.Config(16000, 2, 32, 64, 32, 16, 32, 3, 2, 1))
    batch = model.collate([{"id": "tones", "mixture": sources.sum(0), "sources": sources}])
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss, parts = model.loss(batch)
        loss.backward()
        optimizer.step()
    assert parts["si_sdr"] > 15 and float(loss.detach()) == pytest.approx(-parts["si_sdr"], abs=1e-4)


def test_a_release_of_speechbrain_starts_a_training(tmp_path):
    settings = SMALL[sepformer]
    torch.manual_seed(1)
    released, model = sepformer.Model(settings), make(sepformer)
    for part in ("encoder", "masknet", "decoder"):
        torch.save(getattr(released, part).state_dict(), tmp_path / f"{part}.ckpt")
    parts = [optim.InitConfig(str(tmp_path / f"{part}.ckpt"), "", part) for part in ("encoder", "masknet", "decoder")]
    assert len(optim.initialise(model, parts)) == 3
    assert all(torch.equal(value, released.state_dict()[name]) for name, value in model.state_dict().items())


def test_looking_at_all_modules_imports_nothing():
    with torch.device("meta"):
        sepformer.Model(sepformer.Config())
    for module in list(sys.modules.values()):
        getattr(module, "__file__", None)
    assert "k2" not in sys.modules
