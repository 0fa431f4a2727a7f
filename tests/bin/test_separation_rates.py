"""Three rates at once: the mixture's, the separator's (16 kHz) and that of the codec's audio (24 kHz)."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_system import HOP, INFO, RATE, TONES, ToyCodec, ToySeparator, tones

from codecsep.bin.separation import System
from codecsep.bin.window import Window
from codecsep.decode.options import DecodeOptions

OUT = 24000


class Codec24(ToyCodec):
    """Encodes at 16 kHz in name, decodes to 24 kHz: 480 samples a frame."""

    info = SimpleNamespace(**{**vars(INFO), "sample_rate": 24000, "output_rate": OUT})

    def num_samples(self, num_frames):
        return num_frames * HOP * OUT // RATE

    def decode(self, codes, frame_lengths):
        times = torch.arange(HOP * OUT // RATE) / OUT
        loud, which = codes[:, 0].float() / 200, codes[:, 1]
        waves = torch.stack([torch.sin(2 * torch.pi * tone * times) for tone in TONES])[which]
        return 0.1 * (loud[..., None] * waves).flatten(1)


class Listening(ToySeparator):
    def one(self, mixture, key):
        self.heard = len(mixture)
        return super().one(mixture, key)


def pitch(samples, rate):
    return float(np.argmax(np.abs(np.fft.rfft(samples))) * rate / len(samples))


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
@pytest.mark.parametrize("window", [None, 2.0])
def test_estimates_have_the_pitch_rate_and_length_of_the_mixture(rate, window):
    separator = Listening()
    system = System(separator, Codec24(), DecodeOptions(), Window(window, 0.5))
    mixture = tones(3.0, rate).sum(0)
    (result,) = system([(mixture, rate)], ["mix"])
    assert separator.heard == (RATE * 3 if window is None else RATE * 2)
    assert result.estimates.shape == (2, len(mixture))
    assert [pitch(row, rate) for row in result.estimates] == pytest.approx(TONES, abs=2)
    for row, source in zip(result.estimates, tones(3.0, rate), strict=True):
        size = rate // 50
        envelopes = [np.abs(x[: len(x) // size * size]).reshape(-1, size).mean(1) for x in (row, source)]
        assert np.corrcoef(*envelopes)[0, 1] > 0.9  # loud in the same turns: nothing is stretched


def test_a_separator_with_a_queue_is_given_all_windows_at_once():
    separator = ToySeparator()
    separator.queues = True
    system = System(separator, Codec24(), DecodeOptions(), Window(1.0, 0.2), batch_size=2)
    system([(tones(seconds, RATE).sum(0), RATE) for seconds in (3.0, 0.4, 1.5)], ["a", "b", "c"])
    assert len(separator.calls) == 1 and len(separator.calls[0]) == 7
