"""Separators of waveforms: sizes of the papers, loss, lengths, and a batch that changes nothing."""

import itertools
import math

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


def test_an_example_without_a_source_is_refused():
    example = batch_of(40)[0] | {"sources": np.zeros((2, 40), np.float32)}
    with pytest.raises(ModelError, match="E502"):
        Gains().collate([example])


@pytest.mark.parametrize("module", [convtasnet, tfgridnet], ids=["convtasnet", "tfgridnet"])
def test_very_short_and_silent_mixtures_are_separated(module):
    small = {
        convtasnet: convtasnet.Config(16000, 3, 8, 64, 32, 4, 8, 3, 2, 1),
        tfgridnet: tfgridnet.Config(16000, 3, 128, 64, 4, 1, 4, 4, 4, 2, 16),
    }[module]
    torch.manual_seed(0)
    model = module.Model(small).eval()
    found = model.separate([np.ones(1, np.float32), np.zeros(2000, np.float32)], OPTIONS, ["a", "b"])
    assert [[len(wave) for wave in one.waves] for one in found] == [[1] * 3, [2000] * 3]
    assert all(torch.isfinite(wave).all() for one in found for wave in one.waves)
