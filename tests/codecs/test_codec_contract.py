"""What codecs/base.py promises, for every codec in codecs/: toy sizes, random weights in the official layout."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from toy_codecs import TOYS, install, official

from codecsep.codecs import base
from codecsep.codecs.base import CodecError
from codecsep.data.ark import TokenReader, TokenWriter

NAMES = sorted(path.stem for path in Path(base.__file__).parent.glob("*.py") if base.hasattr_build(path))
CONVERTED = [name for name in NAMES if name != "mini"]
FRAMES = 13


def test_every_codec_has_a_toy():
    assert sorted(TOYS) == NAMES, "a codec in codecs/ needs a function in tests/codecs/toy_codecs.py"


@pytest.fixture(scope="module", params=NAMES)
def codec(request, tmp_path_factory):
    return install(request.param, tmp_path_factory.mktemp(request.param))


def noise(*sizes, seed=0):
    """A batch [B, L] with rows of these sizes, and what must not matter beyond them."""
    generator = torch.Generator().manual_seed(seed)
    wav = 0.1 * torch.randn(len(sizes), max(sizes), generator=generator)
    return wav, torch.tensor(sizes)


def has_sound(codec):
    return codec.info.name != "units"


def sizes_of(codec):
    """Samples of 13 frames, of a few, and of less than one."""
    hop = codec.info.hop
    return FRAMES * hop, 5 * hop + 7, hop - 1


def test_codes_are_b_k_t_and_in_range(codec):
    codes, frames = codec.encode(*noise(FRAMES * codec.info.hop))
    assert codes.shape == (1, codec.info.num_codebooks, int(frames)) and codes.dtype == torch.int64
    assert 0 <= int(codes.min()) and int(codes.max()) < codec.info.codebook_size
    assert codec.info.num_codebooks in (1, 8), "K = 8 where K is free"


def test_frames_and_samples_are_what_is_announced(codec):
    for size in (1, codec.info.hop - 1, codec.info.hop, codec.info.hop + 1, FRAMES * codec.info.hop):
        codes, frames = codec.encode(*noise(size))
        assert frames.tolist() == [codec.num_frames(size)] == [codes.shape[2]]
        assert abs(codec.num_frames(size) - size / codec.info.hop) < 4, "codes of about the signal's length"
        if has_sound(codec):
            assert codec.decode(codes, frames).shape == (1, codec.num_samples(int(frames)))


def test_encode_is_quantize_of_latents(codec):
    wav, lengths = noise(*sizes_of(codec))
    codes, frames = codec.encode(wav, lengths)
    latents, same = codec.latents(wav, lengths)
    assert latents.shape == (3, codes.shape[2], codec.latent_size) and frames.tolist() == same.tolist()
    quantised = codec.quantize(latents)
    for row, size in enumerate(frames.tolist()):
        assert torch.equal(quantised[row, :, :size], codes[row, :, :size])


def test_decode_is_synthesise_of_embed(codec):
    codes, frames = random_codes(codec, [FRAMES])
    embedded = codec.embed(codes)
    assert embedded.shape == (1, codes.shape[2], codec.latent_size)
    if has_sound(codec):
        wav = codec.synthesise(embedded, frames)
        torch.testing.assert_close(codec.decode(codes, frames), wav[:, : codec.num_samples(codes.shape[2])])


def random_codes(codec, frames):
    """codes [B, K, T] of rows with so many frames; whole chunks for a codec that knows only those."""
    frames = [codec.num_frames(size * codec.info.hop) for size in frames]
    generator = torch.Generator().manual_seed(1)
    shape = (len(frames), codec.info.num_codebooks, max(frames))
    return torch.randint(codec.info.codebook_size, shape, generator=generator), torch.tensor(frames)


def test_a_row_is_what_it_is_alone(codec):
    wav, lengths = noise(*sizes_of(codec))
    codes, frames = codec.encode(wav, lengths)
    for row, (size, count) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
        alone, own = codec.encode(wav[row : row + 1, :size].clone(), torch.tensor([size]))
        assert own.tolist() == [count] and torch.equal(alone[0], codes[row, :, :count])
        assert not codes[row, :, count:].any()
    other = torch.where(torch.arange(wav.shape[1]) < lengths[:, None], wav, torch.rand_like(wav))
    assert torch.equal(codec.encode(other, lengths)[0], codes), "what lies beyond a row's end does not matter"


def test_a_decoded_row_is_what_it_is_alone(codec):
    if not has_sound(codec):
        pytest.skip("units cannot be decoded")
    codes, frames = random_codes(codec, [FRAMES, 6, 1])
    wav = codec.decode(codes, frames)
    for row, count in enumerate(frames.tolist()):
        size = codec.num_samples(count)
        alone = codec.decode(codes[row : row + 1, :, :count], frames[row : row + 1])
        torch.testing.assert_close(wav[row, :size], alone[0], atol=1e-5, rtol=1e-4)
        assert not wav[row, size:].any()


def test_the_lowest_levels_alone_are_decoded(codec):
    codes, frames = random_codes(codec, [FRAMES])
    levels = codec.info.num_codebooks
    parts = [codec.embed(codes[:, :count]) for count in range(1, levels + 1)]
    assert all(part.shape == parts[0].shape for part in parts)
    assert all(not torch.allclose(low, high) for low, high in zip(parts, parts[1:], strict=False))
    if has_sound(codec):
        assert codec.decode(codes[:, :1], frames).shape == codec.decode(codes, frames).shape


def test_units_say_that_they_have_no_sound(codec):
    if has_sound(codec):
        pytest.skip("has a decoder")
    with pytest.raises(CodecError, match="^E357 codec units: has no decoder"):
        codec.decode(*random_codes(codec, [3]))


def test_a_long_recording_has_the_same_codes(codec):
    wav, lengths = noise(FRAMES * codec.info.hop + 11)
    whole = codec.encode_long(lambda start, stop: wav[0, start:stop], int(lengths))
    assert torch.equal(whole, codec.encode(wav, lengths)[0][0])


def test_an_empty_row_is_refused(codec):
    with pytest.raises(CodecError, match="^E353 a signal of 0 samples"):
        codec.encode(torch.zeros(2, 100), torch.tensor([100, 0]))


def test_in_evaluation_without_gradients(codec):
    assert not codec.training
    codes, frames = codec.encode(*noise(3 * codec.info.hop))
    latents, _ = codec.latents(*noise(3 * codec.info.hop))
    assert not latents.requires_grad and not codec.embed(codes).requires_grad
    assert not has_sound(codec) or not codec.decode(codes, frames).requires_grad


def test_codes_survive_the_disk(codec, tmp_path):
    """[K, T] in memory, [T, K] on disk; T differs from K."""
    codes, _ = codec.encode(*noise(FRAMES * codec.info.hop))
    with TokenWriter(tmp_path / "codes") as writer:
        writer.write("a", codes[0].numpy())
    read = TokenReader(tmp_path / "codes.scp", codec.info.codebook_size, codec.info.num_codebooks)["a"]
    assert torch.equal(torch.as_tensor(read), codes[0])


def test_the_context_is_a_bound(codec):
    """Only frames within `context` of a changed sample may change."""
    if codec.context is None:
        pytest.skip("no bound")
    hop, middle = codec.info.hop, 3 * codec.context + 8
    wav, lengths = noise((2 * middle + 1) * hop)
    changed = wav.clone()
    changed[:, middle * hop : (middle + 1) * hop] = wav[:, middle * hop : (middle + 1) * hop].flip(1)  # same level
    before, after = (codec.latents(one, lengths)[0][0] for one in (wav, changed))
    far = (torch.arange(len(before)) - middle).abs() > codec.context
    torch.testing.assert_close(before[far], after[far], atol=1e-6, rtol=1e-5)
    assert not torch.allclose(before[~far], after[~far])


@pytest.mark.parametrize("name", CONVERTED)
def test_conversion_is_strict(name, tmp_path):
    module, sizes, path = official(name, tmp_path)
    whole = load_file(path)
    victim = sorted(key for key in whole if key.endswith(("bias", "weight", "weight_v")))[0]

    def refused(state, pattern):
        save_file(state, tmp_path / "broken.safetensors")
        with pytest.raises(CodecError, match=rf"^E\d+ .*broken\.safetensors: .*{pattern}.* \(fix: "):
            module.convert(tmp_path / "broken.safetensors", sizes)

    ending = victim.rsplit(".", 2)[-2]
    refused({key: value for key, value in whole.items() if key != victim}, ending)
    refused(whole | {"strange.weight": torch.zeros(1)}, r"strange\.weight")
    refused(whole | {victim: torch.zeros(3, 3, 3, 3)}, ending)
    assert all(
        value.dtype == torch.float32 or not value.is_floating_point() for value in module.convert(path, sizes).values()
    )


@pytest.mark.parametrize("name", CONVERTED)
def test_description_fits_the_network(name, tmp_path):
    module, sizes, _ = official(name, tmp_path)
    info = module.describe(sizes)
    assert info.name == name and info.delay_samples == 0
    assert info.frame_rate == pytest.approx(info.sample_rate / info.hop)
