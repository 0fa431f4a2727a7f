"""melrvq: the mel of librosa, real speech through random weights in any batch, official files, level after level."""

import numpy as np
import pytest
import torch
from toy_codecs import install, official

from codecsep.codecs import melrvq
from codecsep.codecs.base import CodecError
from codecsep.signal.mel import log_mel, slaney_filters


@pytest.fixture(scope="module")
def codec(tmp_path_factory):
    return install("melrvq", tmp_path_factory.mktemp("melrvq"))


def test_sizes_of_the_release():
    info = melrvq.describe(melrvq.Config())
    assert (info.sample_rate, info.hop, info.num_codebooks, info.codebook_size) == (22050, 256, 8, 1024)
    assert info.frame_rate == pytest.approx(86.1328125) and info.output_rate == 22050


def test_frames_are_those_of_the_definition():
    """Every step written out for the frame in the middle: window, DFT, triangles of equal area, logarithm."""
    wav = 0.1 * np.random.default_rng(0).standard_normal(9 * 256)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(1024) / 1024)
    spectrum = np.fft.rfft(window * wav[4 * 256 - 384 : 4 * 256 + 640])
    magnitude = np.sqrt(np.abs(spectrum) ** 2 + 1e-9)
    filters = slaney_filters(1024, 80, 22050, 8000)
    ours = log_mel(torch.from_numpy(wav.astype(np.float32))[None], 1024, 256, torch.from_numpy(filters), 1e-5)[0]
    assert ours.shape == (9, 80)
    np.testing.assert_allclose(ours[4].numpy(), np.log(np.maximum(filters @ magnitude, 1e-5)), atol=1e-5)


@pytest.mark.long  # importing librosa compiles for 20 s
def test_frames_are_those_of_librosa():
    librosa = pytest.importorskip("librosa", reason="librosa is not installed")
    wav = 0.1 * np.random.default_rng(0).standard_normal(20 * 256).astype(np.float32)
    filters = slaney_filters(1024, 80, 22050, 8000)
    np.testing.assert_allclose(filters, librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmax=8000), atol=1e-8)
    size = np.abs(librosa.stft(np.pad(wav, 384), n_fft=1024, hop_length=256, center=False))
    wanted = np.log(np.maximum(librosa.filters.mel(sr=22050, n_fft=1024, n_mels=80, fmax=8000) @ size, 1e-5))
    ours = log_mel(torch.from_numpy(wav)[None], 1024, 256, torch.from_numpy(filters), 1e-5)[0].numpy()
    assert ours.shape == (20, 80)
    np.testing.assert_allclose(ours, wanted.T, atol=1e-5)


def test_silence_lies_on_the_floor(codec):
    frames, _ = codec.latents(torch.zeros(1, 1000), torch.tensor([1000]))
    assert frames.shape == (1, 4, 80) and float((frames - np.log(1e-5)).abs().max()) < 0.7, "the power floor is below"


def test_batches_of_speech_like_noise_have_the_codes_of_single_rows(codec):
    """Many rows and lengths: a matrix product must not round differently in a batch."""
    generator = torch.Generator().manual_seed(3)
    lengths = torch.randint(300, 9000, (12,), generator=generator)
    wav = torch.randn(12, 9000, generator=generator).cumsum(1) * 0.01
    codes, frames = codec.encode(wav, lengths)
    for row, (size, count) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
        alone, _ = codec.encode(wav[row : row + 1, :size], torch.tensor([size]))
        assert torch.equal(alone[0], codes[row, :, :count])


def test_more_levels_come_nearer(codec):
    frames = torch.randn(1, 50, 80)
    for level in codec.network.quantizer.levels:
        level.codes.mul_(0.3)[0] = 0  # with 0 among its entries no level makes it worse
    codes = codec.quantize(frames)
    errors = [float((codec.embed(codes[:, :count]) - frames).square().mean()) for count in range(1, 9)]
    assert all(low >= high for low, high in zip(errors, errors[1:], strict=False)) and errors[-1] < errors[0]


def test_the_official_file_with_its_entry_generator(tmp_path):
    module, sizes, path = official("melrvq", tmp_path)
    state = melrvq.read_safetensors(path)
    torch.save({"generator": state}, tmp_path / "g_02500000")
    wanted = module.convert(path, sizes)
    found = module.convert(tmp_path / "g_02500000", sizes)
    assert wanted.keys() == found.keys() and all(torch.equal(wanted[name], found[name]) for name in wanted)
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CodecError, match="^E440 .*list.pt: holds no mapping"):
        module.convert(tmp_path / "list.pt", sizes)
