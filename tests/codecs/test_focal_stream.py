"""FocalCodec-Stream from chunk to chunk: against the slow obvious computation, causality, carried state, eviction."""

import copy
import math

import pytest
import torch
from torch.nn import functional

from codecsep.codecs import focalcodec
from codecsep.codecs.base import CodecError
from codecsep.codecs.causal_wavlm import WavLMConfig, chunk_mask, relative_bucket
from codecsep.codecs.focal_modulation import FocalConfig
from codecsep.codecs.focal_network import Config, Network
from codecsep.codecs.wavenext import WaveNeXtConfig

CHUNK, CHUNKS = 1280, 9


@pytest.fixture(scope="module")
def codec():
    """Windows of three chunks and signals of nine: most of a signal is evicted before its end."""
    torch.manual_seed(0)
    encoder = WavLMConfig(conv_width=6, layers=2, width=8, ffn_width=16, heads=2, buckets=16, max_distance=20,
                          position_kernel=5, position_groups=2, window=12)  # fmt: skip
    focal = FocalConfig(width=8, layers=2, focal_window=3, focal_factor=2, focal_levels=2, window=12)
    config = Config(bits=5, segment=2, encoder=encoder, focal=focal, decoder=WaveNeXtConfig(2, 8, 12, 3))
    network = Network(config).eval().requires_grad_(False)
    network.encoder.encoder.relative_embedding.weight.mul_(3)  # so that a wrong distance shows
    for layer in network.encoder.encoder.layers:
        layer.attention.qkv_proj.weight.mul_(3)
    return focalcodec.FocalCodec(network, focalcodec.describe(config))


@pytest.fixture(scope="module")
def wav():
    return 0.3 * torch.randn(2, CHUNKS * CHUNK, generator=torch.Generator().manual_seed(1))


def bucket(distance, buckets, farthest):
    """The bucket of one distance, step by step."""
    half, size = buckets // 2, abs(distance)
    offset = half if distance > 0 else 0
    if size < half // 2:
        return offset + size
    step = math.log(size / (half // 2)) / math.log(farthest / (half // 2))
    return offset + min(half - 1, half // 2 + int(step * (half - half // 2)))


def causal(layer, frames, mode="replicate"):
    """A causal convolution over the whole signal [D, T], padded by hand."""
    size = layer.kernel_size[0] - 1
    padded = functional.pad(frames[None], (size, 0), mode=mode)
    return functional.conv1d(padded, layer.weight, layer.bias, layer.stride, groups=layer.groups)[0]


def slow_attention(module, table, frames, config):
    """One query and one head after the other, over the keys that the definition lets it see.  [T, D] -> [T, D]."""
    size, width = frames.shape
    head = width // config.heads
    query, key, value = module.qkv_proj(frames).split(width, 1)
    mixed = torch.zeros_like(frames)
    for t in range(size):
        end = (t // config.chunk + 1) * config.chunk
        seen = range(max(0, end - config.window), min(end, size))
        for h in range(config.heads):
            own = slice(h * head, (h + 1) * head)
            raw = module.gru_rel_pos_linear(frames[t, own])
            reset, update = raw[:4].sum().sigmoid(), raw[4:].sum().sigmoid()
            gate = reset * (update * module.gru_rel_pos_const[0, h, 0, 0] - 1) + 2
            scores = [query[t, own] @ key[s, own] / head**0.5
                      + gate * table[bucket(s - t, config.buckets, config.max_distance), h] for s in seen]  # fmt: skip
            mixed[t, own] = torch.stack(scores).softmax(0) @ value[list(seen)][:, own]
    return module.out_proj(mixed)


def slow_block(block, frames):
    """A focal block over the whole signal.  [T, D] -> [T, D]."""
    width, kernel = frames.shape[1], len(block.modulation.layers)
    query, context, gates = block.modulation.in_proj((block.modulation_norm.alpha * frames).tanh()).T.split(
        [width, width, kernel]
    )
    total = 0
    for level, (layer,) in enumerate(block.modulation.layers):
        context = functional.gelu(causal(layer, context))
        total = total + gates[level] * context
    modulator = functional.conv1d(total[None], block.modulation.context_proj.weight, block.modulation.context_proj.bias)
    frames = frames + block.modulation.out_proj((query * modulator[0]).T)
    hidden = functional.gelu(block.feed_forward.in_proj((block.feed_forward_norm.alpha * frames).tanh()))
    return frames + block.feed_forward.out_proj(hidden)


def slow_latents(network, wav):
    """wav [L] -> [T, bits]: the whole signal at once, from the definitions."""
    frames = wav[None]
    for layer in network.encoder.feature_extractor.layers:
        frames = functional.gelu(layer.norm(causal(layer.conv, frames).T)).T
    frames = network.encoder.feature_proj(network.encoder.norm(frames.T))
    encoder = network.encoder.encoder
    frames = frames + functional.gelu(causal(encoder.positional_embedding.conv, frames.T)).T
    for layer in encoder.layers:
        normed = layer.attention_norm(frames)
        frames = frames + slow_attention(layer.attention, encoder.relative_embedding.weight, normed, encoder.config)
        hidden = layer.feed_forward.in_proj(layer.feed_forward_norm(frames))
        frames = frames + layer.feed_forward.out_proj(functional.gelu(hidden))
    for layer in network.compressor.layers:
        alpha, scale = layer.downscale.activation.alpha[:, 0], layer.downscale.downscale
        frames = frames @ scale.weight[:, :, 0].T + scale.bias
        frames = slow_block(layer.focal_block, frames + (alpha * frames).sin() ** 2 / alpha)
    frames = network.compressor.out_proj(frames)
    return frames / frames.norm(dim=1, keepdim=True)


def slow_waveform(network, latents):
    """latents [T, bits] -> wav [T * 480]: the whole signal at once."""
    frames = network.decompressor.in_proj(latents)
    for layer in network.decompressor.layers:
        frames, alpha = slow_block(layer.focal_block, frames), layer.upscale.activation.alpha[:, 0]
        frames = (frames + (alpha * frames).sin() ** 2 / alpha) @ layer.upscale.upscale.weight[:, :, 0]
        frames = frames + layer.upscale.upscale.bias
    refiner = network.decompressor.refiner
    chunks = [chunk + refiner.out_proj(functional.gelu(refiner.in_proj(chunk.flatten()))).reshape(chunk.shape)
              for chunk in frames.split(4)]  # fmt: skip
    backbone = network.decoder.backbone
    frames = backbone.input_norm(causal(backbone.embedding, torch.cat(chunks).T, "constant").T)
    for layer in backbone.layers:
        hidden = layer.pwconv1(layer.norm(causal(layer.dwconv, frames.T, "constant").T))
        frames = frames + layer.gamma * layer.pwconv2(functional.gelu(hidden))
    return network.decoder.head.proj(backbone.output_norm(frames)).flatten().clamp(-1, 1)


def test_buckets_of_wavlm():
    distances = [0, -79, -80, -100, -800, -5000, 1, 79, 80, 100, 800]
    wanted = [0, 79, 80, 87, 159, 159, 161, 239, 240, 247, 319]
    assert relative_bucket(torch.tensor(distances), 320, 800).tolist() == wanted
    spaced = [bucket(distance, 320, 800) for distance in range(-900, 900, 7)]
    assert relative_bucket(torch.arange(-900, 900, 7), 320, 800).tolist() == spaced


def test_mask_counts_from_the_end_of_the_chunk():
    seen = chunk_mask(8, 8, 4, 12, torch.device("cpu")) == 0
    for row in range(4):  # frames 8 to 11, of the third chunk: all of three chunks
        assert seen[row].tolist() == [True] * 12 + [False] * 4
    for row in range(4, 8):  # and of the fourth: from 16 - 12 on
        assert seen[row].tolist() == [False] * 4 + [True] * 12


@torch.no_grad()
def test_whole_signal_equals_the_slow_computation(codec, wav):
    latents, _ = codec.network.latents(wav)
    features, _ = codec.network.features(latents, torch.ones(2, 4 * CHUNKS, dtype=torch.bool))
    decoded, _ = codec.network.waveform(features)
    for row in range(2):
        slow = slow_latents(codec.network, wav[row])
        torch.testing.assert_close(latents[row], slow, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(decoded[row], slow_waveform(codec.network, slow), atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[1] * 9, [2, 3, 4], [5, 1, 3], [9]])
def test_chunk_by_chunk_equals_whole(codec, wav, sizes):
    network, parts, heard = codec.network, [], []
    whole, _ = network.latents(wav)
    valid = torch.ones(2, 4 * CHUNKS, dtype=torch.bool)
    decoded = network.waveform(network.features(whole, valid)[0])[0]
    state = left = last = None
    for piece in wav.split([CHUNK * size for size in sizes], 1):
        latents, state = network.latents(piece, state)
        features, left = network.features(latents, valid[:, : latents.shape[1]], left)
        sound, last = network.waveform(features, last)
        parts.append(latents)
        heard.append(sound)
        assert all(keys.shape[2] <= 8 and values.shape[2] <= 8 for keys, values in state.wavlm.past)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.cat(heard, 1), decoded, atol=1e-5, rtol=1e-5)


def test_stream_gives_the_codes_and_the_sound_of_the_whole(codec, wav):
    lengths = torch.tensor([CHUNKS * CHUNK] * 2)
    codes, frames = codec.encode(wav, lengths)
    stream = codec.stream()
    pieces = [stream.encode(piece) for piece in wav.split(CHUNK, 1)]
    assert torch.equal(torch.cat(pieces, 2), codes)
    sound = torch.cat([stream.decode(piece) for piece in pieces], 1)
    torch.testing.assert_close(sound, codec.decode(codes, frames), atol=1e-5, rtol=1e-5)
    stream = codec.stream()
    features = torch.cat([stream.features(piece) for piece in pieces], 1)
    torch.testing.assert_close(features, codec.features(codes, frames), atol=1e-5, rtol=1e-5)


def test_state_is_all_that_a_stream_keeps(codec, wav):
    """A copy goes on as its original does; without its state a stream starts anew and says something else."""
    stream, codes = codec.stream(), torch.arange(16).reshape(1, 1, 16)
    stream.encode(wav[:, : 2 * CHUNK])
    stream.decode(codes)
    other = copy.copy(stream)
    new = codec.stream()
    later = wav[:, 2 * CHUNK : 4 * CHUNK]
    assert torch.equal(stream.encode(later), other.encode(later))
    sound = stream.decode(codes)
    assert torch.equal(sound, other.decode(codes))
    assert not torch.allclose(sound, new.decode(codes), atol=1e-4)
    left = stream.decompressor
    assert len(left) == 2 and [part.shape[1] for part in left[0]] == [2, 4, 11]
    assert [part.shape[1] for part in stream.decoder] == [2, 2, 2]


def test_pieces_that_are_no_whole_chunks_are_refused(codec):
    with pytest.raises(CodecError, match="E331.*1000 samples"):
        codec.stream().encode(torch.zeros(1, 1000))
    with pytest.raises(CodecError, match="E331.*3 codes"):
        codec.stream().decode(torch.zeros(1, 1, 3, dtype=torch.int64))


def test_codes_depend_on_no_sample_beyond_their_chunk(codec, wav):
    signal = wav[:1].clone().requires_grad_()
    latents, _ = codec.network.latents(signal)
    gradient = torch.autograd.grad(latents[:, 16].square() @ torch.arange(5.0), signal)[0][0]  # first of chunk 4
    assert not gradient[5 * CHUNK :].any()
    assert gradient[: 4 * CHUNK].any()
    assert gradient[4 * CHUNK + 2 * 320 : 5 * CHUNK].any()  # it does look ahead, within its chunk


@torch.no_grad()
def test_changed_future_changes_no_code(codec, wav):
    changed = wav.clone()
    changed[:, 4 * CHUNK :] = 0.5 * torch.randn(2, 5 * CHUNK)
    before, after = codec.network.latents(wav)[0], codec.network.latents(changed)[0]
    assert torch.equal(before[:, :16], after[:, :16])
    assert not torch.equal(before[:, 16:], after[:, 16:])


def test_sound_depends_on_no_later_code(codec):
    codes, frames = torch.randint(0, 32, (1, 1, 24)), torch.tensor([24])
    changed = codes.clone()
    changed[..., 12:] = (changed[..., 12:] + 7) % 32
    before, after = codec.decode(codes, frames), codec.decode(changed, frames)
    assert torch.equal(before[:, : 12 * 480], after[:, : 12 * 480])
    assert not torch.equal(before[:, 12 * 480 : 13 * 480], after[:, 12 * 480 : 13 * 480])


@pytest.mark.long
@torch.inference_mode()
def test_official_sizes_in_pieces_equal_the_whole():
    """Random weights of the official sizes: 12 s, beyond the window of 512 frames, in pieces of 80 ms and of 2.4 s."""
    torch.manual_seed(0)
    codec = focalcodec.FocalCodec(Network(Config()).eval(), focalcodec.describe(Config()))
    time = torch.arange(150 * CHUNK) / 16000
    tone = torch.sin(2 * math.pi * (200 + 100 * torch.sin(3 * time)) * time)
    wav = (0.1 * tone + 0.02 * torch.randn(len(time)))[None]
    latents, _ = codec.latents(wav, torch.tensor([wav.shape[1]]))
    codes = codec.quantize(latents)
    for size in (1, 30):
        stream, network_state, parts = codec.stream(), None, []
        for piece in wav.split(size * CHUNK, 1):
            part, network_state = codec.network.latents(piece, network_state)
            parts.append(part)
        torch.testing.assert_close(torch.cat(parts, 1), latents, atol=1e-5, rtol=1e-4)
        found = torch.cat([stream.encode(piece) for piece in wav[:, : 30 * CHUNK].split(size * CHUNK, 1)], 2)
        assert torch.equal(found, codes[:, :, : found.shape[2]])
