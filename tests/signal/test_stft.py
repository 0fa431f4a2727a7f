"""Frames that follow from the hop alone; perfect reconstruction; rows that do not feel their padding."""

import pytest
import torch

from codecsep.signal import stft


@pytest.mark.parametrize("size", [1, 159, 160, 161, 1000])
def test_number_of_frames_and_reconstruction(size):
    torch.manual_seed(0)
    wav = torch.randn(2, size)
    spectrum = stft.same_stft(wav, 640, 160)
    frames = stft.num_frames(size, 160)
    assert spectrum.shape == (2, 321, frames) and frames == -(-size // 160)
    back = stft.same_istft(spectrum, 640, 160, torch.ones(2, frames))
    assert back.shape == (2, frames * 160)
    torch.testing.assert_close(back[:, :size], wav, atol=1e-4, rtol=1e-3)


def test_padding_changes_neither_spectrum_nor_signal():
    torch.manual_seed(0)
    wav = torch.randn(1, 480)
    padded = torch.cat([wav, torch.zeros(1, 480)], 1)
    alone, together = stft.same_stft(wav, 640, 160), stft.same_stft(padded, 640, 160)
    torch.testing.assert_close(together[..., :3], alone)
    spectrum = torch.cat([alone, torch.randn(1, 321, 3, dtype=torch.complex64)], 2)
    back = stft.same_istft(spectrum, 640, 160, torch.tensor([[1.0, 1, 1, 0, 0, 0]]))
    torch.testing.assert_close(back[:, :480], stft.same_istft(alone, 640, 160, torch.ones(1, 3)))


def test_mel_filters_cover_the_band_and_sum_to_one():
    bank = stft.mel_filterbank(40, 512, 16000)
    assert bank.shape == (40, 257)
    torch.testing.assert_close(bank.sum(1), torch.ones(40))
    assert bool((bank >= 0).all()) and bool(bank.sum(0)[1:-1].gt(0).all())
    peaks = bank.argmax(1)
    assert bool((peaks[1:] >= peaks[:-1]).all())
    assert float(stft.mel_to_hz(torch.tensor(stft.hz_to_mel(1000.0), dtype=torch.float64))) == pytest.approx(1000.0)
