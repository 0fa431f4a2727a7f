"""encodec and dac in their official sizes: real speech has the codes of their packages, memory does not grow."""

import subprocess
import sys
from pathlib import Path

import peak_memory
import pytest
import torch

from codecsep.codecs import dac, encodec, upstream
from codecsep.data.audio import read_audio, resample

pytestmark = pytest.mark.long
SPEECH = Path(__file__).resolve().parents[2] / "egs" / "prompts2mix" / "downloads" / "wav"

PEAK = peak_memory.SOURCE + """
import sys, torch
from pathlib import Path
from codecsep.codecs import dac, encodec, upstream

module, kind = {"dac": (dac, dac.DacCodec), "encodec": (encodec, encodec.EncodecCodec)}[sys.argv[1]]
sizes = module.Config()
network = upstream.on_meta(lambda: module.Network(sizes))
state = {name: 0.03 * torch.randn(value.shape) for name, value in network.state_dict().items()}
codec = kind(upstream.fill(network, state, Path("random")), sizes, module.describe(sizes))
for seconds in map(float, sys.argv[2:]):
    codec.encode_long(lambda start, stop: 0.1 * torch.randn(stop - start), int(seconds * sizes.sample_rate))
    print(peak_bytes() >> 20)
"""


@pytest.mark.parametrize(("name", "seconds"), [("encodec", (10, 120)), ("dac", (10, 30))])
def test_memory_does_not_grow_with_the_recording(name, seconds):
    call = [sys.executable, "-W", "ignore", "-c", PEAK, name, *map(str, seconds)]
    short, long = map(int, subprocess.run(call, capture_output=True, text=True, check=True).stdout.split())
    assert long < 1500 and long - short < 100, f"MiB: {short} for {seconds[0]} s, {long} for {seconds[1]} s"


def package_encodec():
    from encodec import EncodecModel

    model = EncodecModel.encodec_model_24khz(pretrained=False)
    for layer in model.quantizer.vq.layers:
        layer._codebook.embed.normal_(std=0.05)
    model.set_target_bandwidth(6.0)
    return model, lambda wav: model.encode(wav[None, None])[0][0]


def package_dac():
    from dac import DAC

    model = DAC(64, [2, 4, 5, 8], None, 1536, [8, 5, 4, 2], 12, 1024, 8, False, 16000).eval()
    return model, lambda wav: model.encode(model.preprocess(wav[None, None], 16000))[1]


@pytest.mark.parametrize("name", ["encodec", "dac"])
def test_real_speech_has_the_packages_codes(name):
    """Recordings in one batch, and all of them in a row (several blocks): the codes of the package, one by one."""
    files = sorted(SPEECH.rglob("*.wav"))[:40:8]
    if not files:
        pytest.skip("no recordings: run stage 0 of egs/prompts2mix first")
    module, kind = {"encodec": (encodec, encodec.EncodecCodec), "dac": (dac, dac.DacCodec)}[name]
    sizes, _ = module.Config(), torch.manual_seed(0)
    upstream.need_package(name)
    model, package_codes = {"encodec": package_encodec, "dac": package_dac}[name]()
    network = upstream.fill(upstream.on_meta(lambda: module.Network(sizes)), model.state_dict(), Path("random"))
    codec = kind(network, sizes, module.describe(sizes))
    waves = [torch.from_numpy(resample(*read_audio(path), sizes.sample_rate)) for path in files]
    waves.append(torch.cat(waves)[: 14 * sizes.sample_rate])
    lengths = torch.tensor([len(wav) for wav in waves])
    codes, frames = codec.encode(torch.nn.utils.rnn.pad_sequence(waves, batch_first=True), lengths)
    for row, (wav, count) in enumerate(zip(waves, frames.tolist(), strict=True)):
        with torch.no_grad():
            assert torch.equal(codes[row, :, :count], package_codes(wav)[0])
