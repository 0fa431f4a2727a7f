"""FocalCodec-Stream behind the contract: codes, lengths, batches, long signals, what is refused."""

from pathlib import Path

import pytest
import torch

from codecsep import config as configuration
from codecsep.codecs import binary_sphere, focalcodec
from codecsep.codecs.base import CodecError
from codecsep.codecs.causal_wavlm import WavLMConfig
from codecsep.codecs.focal_modulation import FocalConfig
from codecsep.codecs.focal_network import Config, Network
from codecsep.codecs.wavenext import WaveNeXtConfig
from codecsep.data.audio import read_audio
from codecsep.plain_yaml import ConfigError

SPEECH = Path(__file__).resolve().parents[2] / "egs" / "prompts2mix" / "downloads" / "wav"


def tiny():
    """The smallest sizes in which every part still has something to do; segments of 3 chunks."""
    encoder = WavLMConfig(conv_width=6, layers=2, width=8, ffn_width=16, heads=2, buckets=16, max_distance=20,
                          position_kernel=5, position_groups=2, window=12)  # fmt: skip
    focal = FocalConfig(width=8, layers=2, focal_window=3, focal_factor=2, focal_levels=2, window=12)
    decoder = WaveNeXtConfig(layers=2, width=8, ffn_width=12, kernel=3)
    return Config(bits=5, segment=3, encoder=encoder, focal=focal, decoder=decoder)


def speech(num_samples, skip=8000):
    paths = sorted(SPEECH.glob("en*/*.wav"), key=lambda path: -path.stat().st_size)
    if not paths:
        pytest.skip("no recordings: run egs/prompts2mix/slm_ss/run.sh --stop-stage 0 first")
    return torch.from_numpy(read_audio(paths[0], 16000)[0][skip : skip + num_samples])


def random_codec():
    torch.manual_seed(0)
    return focalcodec.FocalCodec(Network(tiny()).eval(), focalcodec.describe(tiny()))


@torch.inference_mode()
def balance(codec, wav):
    """Shift the latents so that each bit is set half of the time: random weights give few codes."""
    network = codec.network
    latents, _ = network.compressor(network.encoder(wav[None, : len(wav) // 1280 * 1280])[0])
    network.compressor.out_proj.bias.data -= latents[0].median(0).values
    return codec


@pytest.fixture(scope="module")
def codec():
    return random_codec()


def test_description_of_the_default():
    info = focalcodec.describe(Config())
    assert (info.sample_rate, info.output_rate, info.hop, info.frame_rate) == (16000, 24000, 320, 50.0)
    assert (info.num_codebooks, info.codebook_size, info.chunk) == (1, 4096, 4)


def test_first_bit_is_the_most_significant():
    latents = torch.tensor([[0.9, -0.1, -0.2], [-0.1, 0.3, 0.1], [-1.0, -1.0, 1e-9], [1.0, 0.0, 2.0]])
    assert binary_sphere.to_codes(latents).tolist() == [0b100, 0b011, 0b001, 0b101]
    third = 3**-0.5
    wanted = torch.tensor([[-third, third, third], [third, third, -third]])
    torch.testing.assert_close(binary_sphere.to_vectors(torch.tensor([3, 6]), 3), wanted)


@pytest.mark.parametrize("bits", [11, 12, 16])
def test_every_code_comes_back_from_its_vector(bits):
    codes = torch.arange(0, 2**bits, 7)
    vectors = binary_sphere.to_vectors(codes, bits)
    assert torch.equal(binary_sphere.to_codes(vectors), codes)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(len(codes)))


@pytest.mark.parametrize("num_samples", [1, 1279, 1280, 1281, 5000])
def test_codes_come_in_fours(codec, num_samples):
    codes, frames = codec.encode(torch.randn(1, num_samples), torch.tensor([num_samples]))
    wanted = 4 * -(-num_samples // 1280)
    assert codes.shape == (1, 1, wanted) and codes.dtype == torch.int64
    assert frames.tolist() == [wanted] == [codec.num_frames(num_samples)]
    wav = codec.decode(codes, frames)
    assert wav.shape == (1, 480 * wanted) and float(wav.abs().max()) <= 1


def test_last_chunk_is_filled_with_zeros(codec):
    wav = torch.randn(1, 3000)
    filled = torch.nn.functional.pad(wav, (0, 3840 - 3000))
    assert torch.equal(codec.encode(wav, torch.tensor([3000]))[0], codec.encode(filled, torch.tensor([3840]))[0])


def test_batch_equals_one_by_one_on_speech():
    codec = balance(random_codec(), speech(64000))
    wavs = [speech(size, skip) for size, skip in ((16000, 0), (40001, 9000), (24320, 30000))]
    lengths = torch.tensor([len(wav) for wav in wavs])
    batch = torch.full((3, 40001), 0.3)  # what lies beyond a row's length must not matter
    for row, wav in zip(batch, wavs, strict=True):
        row[: len(wav)] = wav
    codes, frames = codec.encode(batch, lengths)
    decoded, features = codec.decode(codes, frames), codec.features(codes, frames)
    assert codes[1].unique().numel() > 16
    for i, wav in enumerate(wavs):
        alone, size = codec.encode(wav[None], lengths[i : i + 1]), int(frames[i])
        assert torch.equal(codes[i, :, :size], alone[0][0]) and not codes[i, :, size:].any()
        torch.testing.assert_close(decoded[i, : size * 480], codec.decode(*alone)[0], atol=1e-5, rtol=1e-5)
        assert not decoded[i, size * 480 :].any()
        torch.testing.assert_close(features[i, :size], codec.features(*alone)[0], atol=1e-5, rtol=1e-5)
    together, _ = codec.latents(batch, lengths)  # as one batch, which is what a GPU computes
    for i, size in enumerate(frames.tolist()):
        assert torch.equal(codec.quantize(together[i : i + 1, :size])[0], codes[i, :, :size])


def test_rows_of_any_number_of_codes_do_not_touch_each_other(codec):
    """A model may write 6 codes: the two frames that are missing in the last chunk count as zeros, in a batch too."""
    codes, lengths = torch.randint(0, 32, (2, 1, 9)), torch.tensor([6, 9])
    together, alone = codec.decode(codes, lengths), codec.decode(codes[:1, :, :6], lengths[:1])
    torch.testing.assert_close(together[:1, : 6 * 480], alone, atol=1e-6, rtol=1e-5)


def test_encode_long_reads_piece_by_piece_and_gives_the_same_codes():
    wav, asked = speech(50_001), []
    codec = balance(random_codec(), wav)

    def read(start, stop):
        asked.append((start, stop))
        return wav[start:stop]

    codes = codec.encode_long(read, len(wav))
    assert torch.equal(codes, codec.encode(wav[None], torch.tensor([len(wav)]))[0][0])
    step = 3 * 1280
    assert asked == [(start, min(start + step, 50_001)) for start in range(0, 50_001, step)]


def test_what_has_no_codes_is_refused(codec):
    with pytest.raises(CodecError, match="0 samples"):
        codec.encode(torch.zeros(1, 320), torch.tensor([0]))
    with pytest.raises(CodecError, match="0 samples"):
        codec.encode_long(lambda start, stop: torch.zeros(stop - start), 0)
    for wrong in (32, -1):
        with pytest.raises(CodecError, match="E305.*codes are 0 to 31"):
            codec.decode(torch.tensor([[[3, wrong]]]), torch.tensor([2]))
    nothing = torch.zeros(2, 1, 0, dtype=torch.int64), torch.tensor([0, 0])
    assert codec.decode(*nothing).shape == (2, 0) and codec.features(*nothing).shape == (2, 0, 8)


def test_gradients_reach_every_weight():
    torch.manual_seed(0)
    network = Network(tiny())
    latents, _ = network.latents(0.1 * torch.randn(1, 3 * 1280))
    features, _ = network.features(latents, torch.ones(1, 12, dtype=torch.bool))
    (network.waveform(features)[0].square().sum() + latents[..., 0].sum()).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_sizes_that_cannot_be_are_refused(tmp_path):
    path = tmp_path / "config.yaml"
    for text, message in (("bits: 0", "bits is 0"), ("encoder: {window: 10}", "window is 10"),
                          ("sample_rate: 16001", "multiple of the product")):  # fmt: skip
        path.write_text(text + "\n")
        with pytest.raises(ConfigError, match=message):
            configuration.load(Config, path)
