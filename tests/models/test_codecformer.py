"""Codecformer: sizes, masks, the frozen codec, three losses; most of it inside a codec whose latents are samples."""

from itertools import permutations

import numpy as np
import pytest
import sample_codec
import torch
from torch import nn

from codecsep.decode.options import DecodeOptions
from codecsep.models import codecformer
from codecsep.models.base import ModelError
from codecsep.models.latent_separator import advance, pair_squared_errors, peak_normalised
from codecsep.nn.snake import Snake, make_activation
from codecsep.signal.resample import resample
from codecsep.signal.si_sdr import si_sdr
from codecsep.train import optim

RATE = 16000


def make(codec=None, **settings):
    torch.manual_seed(0)
    sizes = {"sample_rate": RATE, "latent_size": 4, "width": 8, "num_layers": 1, "num_heads": 2, "ffn_width": 16}
    model = codecformer.Model(codecformer.Config(**sizes | settings))
    model.use_codec(codec or sample_codec.SampleCodec())
    return model


def examples(lengths=(50, 70), num_speakers=2, seed=0):
    random = np.random.default_rng(seed)
    made = []
    for length in lengths:
        sources = (0.1 * random.standard_normal((num_speakers, length))).astype(np.float32)
        made.append({"id": f"utt{length}", "mixture": sources.sum(0), "sources": sources})
    return made


def latent_examples(frames=(5, 9), size=4):
    random = np.random.default_rng(1)
    draws = [random.standard_normal((3, count, size)).astype(np.float32) for count in frames]
    return [{"id": "a", "mixture_latents": draw[0], "source_latents": draw[1:]} for draw in draws]


# -- sizes and parts ---------------------------------------------------------------------------------------------------


def test_the_separator_has_the_parameters_of_the_authors():
    with torch.device("meta"):
        separator = codecformer.MaskNetwork(codecformer.Config())
    layer = 4 * (256 * 256 + 256) + 2 * 256 * 1024 + 1024 + 256 + 4 * 256
    convs = 2 * 1024 * 256 + (1024 + 1) * 2048 + 2 * (1024 + 1) * 1024
    assert sum(p.numel() for p in separator.parameters()) == 16 * layer + 2 * 256 + convs + 2 * 1024 == 17_361_408


def test_snake_has_its_values_and_no_pole():
    snake = Snake(2)
    assert snake.alpha.tolist() == [1.0, 1.0]
    x = torch.tensor([[[0.5, -1.0], [2.0, 3.0]]])
    torch.testing.assert_close(snake(x), x + x.sin() ** 2)
    with torch.no_grad():
        snake.alpha.copy_(torch.tensor([2.0, 0.0]))
    wanted = torch.stack([x[:, 0] + (2 * x[:, 0]).sin() ** 2 / 2, x[:, 1]], 1)
    torch.testing.assert_close(snake(x), wanted)
    torch.testing.assert_close(snake(x[..., None])[..., 0], wanted)


def test_snake_is_not_decayed_and_the_activation_is_that_of_the_codec():
    groups = optim.make_optimizer(make(), optim.OptimConfig(weight_decay=0.1)).param_groups
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    snakes = [module for module in make().modules() if isinstance(module, Snake)]
    model = make(activation="elu")
    assert len(snakes) == 2 and not any(isinstance(module, Snake) for module in model.modules())
    assert not {id(module.alpha) for module in snakes} & decayed
    assert isinstance(make_activation("elu", 3), nn.ELU) and sum(isinstance(m, nn.ELU) for m in model.modules()) == 2


def test_positions_are_sines_and_cosines_side_by_side():
    table = codecformer.positions(7, 6, torch.device("cpu"))
    for place in (0, 1, 6):
        for pair in range(3):
            angle = place / 10000 ** (2 * pair / 6)
            assert table[place, 2 * pair] == pytest.approx(np.sin(angle), abs=1e-6)
            assert table[place, 2 * pair + 1] == pytest.approx(np.cos(angle), abs=1e-6)


def test_a_layer_is_a_pre_norm_layer_with_relu():
    config = codecformer.Config(width=8, num_layers=1, num_heads=2, ffn_width=16)
    transformer = codecformer.Transformer(config).eval()
    hidden, valid = torch.randn(1, 5, 8), torch.ones(1, 5, dtype=torch.bool)
    layer, x = transformer.layers[0], hidden + codecformer.positions(5, 8, hidden.device)
    normed = layer.norm1(x)
    x = x + layer.self_attn(normed, normed, normed)[0]
    x = x + layer.linear2(layer.linear1(layer.norm2(x)).relu())
    torch.testing.assert_close(transformer(hidden, valid), transformer.norm(x))
    assert layer.norm1.eps == transformer.norm.eps == 1e-6 and layer.dropout.p == layer.self_attn.dropout == 0.1


# -- masks -------------------------------------------------------------------------------------------------------------


def test_the_network_gives_masks_that_are_multiplied_with_the_latents():
    model = make().eval()
    latents, lengths = torch.randn(2, 6, 4), torch.tensor([6, 6])
    masks = model.separator(latents, torch.ones(2, 6, dtype=torch.bool))
    torch.testing.assert_close(model.estimate(latents, lengths), masks * latents[:, None])
    assert model.estimate(torch.zeros(1, 6, 4), lengths[:1]).abs().max() == 0


def test_masks_are_unbounded():
    model = make().eval()
    with torch.no_grad():
        model.separator.output[0].weight.mul_(200)
    masks = model.separator(torch.randn(2, 50, 4), torch.ones(2, 50, dtype=torch.bool))
    assert masks.max() > 2 and masks.min() < -2


def test_each_speaker_has_a_mask_of_its_own():
    model = make(num_speakers=3).eval()
    latents, valid = torch.randn(1, 6, 4), torch.ones(1, 6, dtype=torch.bool)
    masks = model.separator(latents, valid)
    assert masks.shape == (1, 3, 6, 4)
    with torch.no_grad():  # the third speaker's rows of the splitting layer
        model.separator.split.parametrizations.weight.original0[8:] = 0
    silenced = model.separator(latents, valid)
    assert torch.equal(silenced[:, :2], masks[:, :2])
    assert torch.equal(silenced[:, 2], silenced[:, 2, :1].expand(1, 6, 4))


def test_weight_norm_survives_a_step_and_a_checkpoint():
    model = make()
    names = [name for name in model.state_dict() if name.startswith("separator.split")]
    assert names == [f"separator.split.parametrizations.weight.original{part}" for part in (0, 1)]
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    model.loss(model.collate(examples()))[0].backward()
    optimizer.step()
    size = model.separator.split.parametrizations.weight.original0
    torch.testing.assert_close(model.separator.split.weight.norm(dim=1, keepdim=True), size.abs())
    other = make()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.separator.split.weight, model.separator.split.weight)


@pytest.mark.parametrize("where", ["before", "after", "both"])
def test_the_quantiser_acts_where_it_is_asked_to(where):
    model = make(quantize=where).eval()
    codec, lengths = model.codec, torch.tensor([6])
    latents = torch.rand(1, 6, 4, generator=torch.Generator().manual_seed(3)).requires_grad_()
    estimates = model.estimate(latents, lengths)
    seen = codec.embed(codec.quantize(latents.detach())) if where != "after" else latents
    masked = model.separator(seen, torch.ones(1, 6, dtype=torch.bool)) * seen[:, None]
    if where != "before":
        masked = codec.embed(codec.quantize(masked.flatten(0, 1))).view_as(masked)
    torch.testing.assert_close(estimates, masked)
    estimates.sum().backward()
    gradients = [p.grad for p in model.separator.parameters()]
    assert all(g is not None for g in gradients) and sum(float(g.abs().sum()) for g in gradients) > 0


def test_renormalised_estimates_are_the_masked_latents_brought_to_variance_one():
    latents, lengths = torch.randn(1, 6, 4), torch.tensor([6])
    plain, made = (make(renormalise=on).eval().estimate(latents, lengths) for on in (False, True))
    centred = plain - plain.mean(-1, keepdim=True)
    torch.testing.assert_close(made, centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt())


# -- the frozen codec --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["clean", "transmitted"])
def test_the_codec_gets_no_gradient_and_is_in_no_checkpoint(loss):
    model = make(loss=loss).train()
    model.loss(model.collate(examples()))[0].backward()
    assert model.codec.gain.grad is None and not model.codec.training and not model.codec.gain.requires_grad
    assert all(name.startswith("separator.") or name == "codec_fingerprint" for name in model.state_dict())
    assert all(p.grad is not None for p in model.separator.parameters())


def test_codecs_that_do_not_fit_are_refused():
    model = make()
    with pytest.raises(ModelError, match="E508.*5 values.*latent_size is 4"):
        model.use_codec(sample_codec.SampleCodec(hop=5))
    with pytest.raises(ModelError, match="E508.*fingerprint"):
        model.use_codec(sample_codec.SampleCodec(fingerprint="2"))


def test_what_goes_in_has_peak_one_whatever_its_level():
    model = make()
    wav = torch.randn(1, 40, generator=torch.Generator().manual_seed(5))
    latents, frames = model.encode(wav, torch.tensor([38]))
    assert frames.tolist() == [10] and float(latents.abs().max()) == 1.0
    torch.testing.assert_close(model.encode(0.01 * wav, torch.tensor([38]))[0], latents)
    assert not latents.is_inference()


def test_what_comes_out_has_peak_one_and_the_length_of_the_mixture():
    waves = make().decode(torch.randn(2, 2, 5, 4), torch.tensor([5, 3]), torch.tensor([18, 10]))
    assert waves.shape == (2, 2, 18) and waves[1, :, 10:].abs().max() == 0
    assert float(waves.abs().max()) <= 1.0


def test_silence_is_finite():
    for loss in ("clean", "transmitted"):
        model = make(loss=loss)
        silent = examples()
        silent[0]["mixture"][:] = 0
        silent[0]["sources"][:] = 0
        silent[1]["sources"][1] = 0
        total, _ = model.loss(model.collate(silent))
        total.backward()
        assert torch.isfinite(total)
        assert all(torch.isfinite(p.grad).all() for p in model.separator.parameters())
    found = model.separate([np.zeros(30, np.float32)], DecodeOptions(), ["a"])[0]
    assert all(torch.isfinite(latents).all() for latents in found.latents)
    assert peak_normalised(torch.zeros(1, 3)).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("rate", [RATE, 8000])
def test_a_mixture_is_separated_the_same_in_any_batch(rate):
    model = make(sample_rate=rate).eval()
    mixtures = [example["mixture"] for example in examples((53, 20, 70))]
    together = model.separate(mixtures, DecodeOptions(), ["a", "b", "c"])
    for mixture, found in zip(mixtures, together, strict=True):
        alone = model.separate([mixture], DecodeOptions(), ["a"])[0]
        assert len(found.latents) == 2 and not found.waves and not found.codes
        for one, other in zip(found.latents, alone.latents, strict=True):
            assert one.shape == (-(-len(mixture) * RATE // rate // 4), 4) and one.dtype == torch.float32
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_rows_are_resampled_alone():
    wav, lengths = torch.randn(2, 60), torch.tensor([60, 31])
    wav[1, 31:] = 0
    made, sizes = resample(wav, lengths, 8000, 16000)
    assert sizes.tolist() == [120, 62] and made[1, 62:].abs().max() == 0
    torch.testing.assert_close(made[1:, :62], resample(wav[1:, :31], lengths[1:], 8000, 16000)[0])
    assert resample(wav, lengths, 8000, 8000)[0] is wav


# -- losses ------------------------------------------------------------------------------------------------------------


def slow_si_sdr(estimates, references):
    """Best mean over all orders, one mixture [N, L]."""
    count = range(len(references))
    return max(
        np.mean([float(si_sdr(estimates[order[n]], references[n])) for n in count]) for order in permutations(count)
    )


def oracle(model, batch):
    """Let the network find the latents of the true sources, in the other order."""
    rows = [model.encode(row, batch["lengths"])[0] for row in batch["sources"].flip(1).unbind(1)]
    model.estimate = lambda latents, frame_lengths: torch.stack(rows, 1)


@pytest.mark.parametrize("delay", [3, -3])
def test_the_constant_delay_is_taken_out_in_the_clean_loss(delay):
    model = make(sample_codec.SampleCodec(delay=delay), threshold=-200.0)
    batch = model.collate(examples((4000,)))
    oracle(model, batch)
    assert float(model.loss(batch)[0]) < -25  # only three samples are lost
    object.__setattr__(model.codec.info, "delay_samples", 0)
    assert float(model.loss(batch)[0]) > 5


def test_a_delay_is_taken_out_at_the_codecs_rate():
    model = make(sample_codec.SampleCodec(delay=8), sample_rate=8000, threshold=-200.0)
    random = np.random.default_rng(0)
    slow = np.repeat(random.standard_normal((2, 250)), 16, 1)  # hardly anything above the band
    sources = np.stack([np.convolve(row, np.hanning(64), "same") for row in slow]).astype(np.float32)
    batch = model.collate([{"id": "a", "mixture": sources.sum(0), "sources": sources}])
    oracle(model, batch)
    assert float(model.loss(batch)[0]) < -20
    assert advance(torch.tensor([[1.0, 2, 3]]), 1).tolist() == [[2, 3, 0]]
    assert advance(torch.tensor([[1.0, 2, 3]]), -1).tolist() == [[0, 1, 2]]


def test_the_transmitted_references_are_coded_and_decoded_one_by_one():
    model = make(sample_codec.SampleCodec(delay=2), loss="transmitted")
    batch = model.collate(examples())
    heard = model.transmitted(batch["sources"], batch["lengths"])
    for row, length in enumerate(batch["lengths"].tolist()):
        for speaker, source in enumerate(batch["sources"][row, :, :length]):
            codes, frames = model.codec.encode((source / source.abs().max())[None], torch.tensor([length]))
            wanted = model.codec.decode(codes, frames)[0]
            torch.testing.assert_close(heard[row, speaker, :length], (wanted / wanted.abs().max())[:length])
    assert heard[0, :, 50:].abs().max() == 0 and not heard.requires_grad and not heard.is_inference()


def test_permutation_and_value_are_of_the_transmitted_references():
    model = make(loss="transmitted").eval()
    batch = model.collate(examples((64,)))
    references = model.transmitted(batch["sources"], batch["lengths"])
    latents, frames = model.encode(batch["wav"], batch["lengths"])
    waves = model.decode(model.estimate(latents, frames), frames, batch["lengths"]).detach()
    assert float(model.loss(batch)[0].detach()) == pytest.approx(-slow_si_sdr(waves[0], references[0]), abs=1e-4)
    # a transmission that swaps the speakers: were one of the two taken from the clean sources, the loss would change
    model.transmitted = lambda sources, lengths: references.flip(1)
    assert float(model.loss(batch)[0].detach()) == pytest.approx(-slow_si_sdr(waves[0], references[0]), abs=1e-4)
    model.transmitted = lambda sources, lengths: waves.flip(1) + 0.1 * references
    assert float(model.loss(batch)[0].detach()) < -8


def test_the_latent_loss_is_that_of_a_slow_twin_and_needs_no_codec():
    torch.manual_seed(0)
    model = codecformer.Model(codecformer.Config(latent_size=4, width=8, num_layers=1, num_heads=2, loss="latent"))
    batch = model.eval().collate(latent_examples())
    total, parts = model.loss(batch)
    slow = []
    for example in latent_examples():
        z = torch.as_tensor(example["mixture_latents"])
        estimates = model.estimate(z[None], torch.tensor([len(z)]))[0].detach().numpy()
        wanted = example["source_latents"]
        orders = [[0, 1], [1, 0]]
        slow.append(min(float(((estimates[order] - wanted) ** 2).mean()) for order in orders))
    assert float(total.detach()) == pytest.approx(np.mean(slow), rel=1e-5)
    assert parts == {"squared_error": pytest.approx(float(total.detach()))}


def test_pairs_of_squared_errors():
    estimates = torch.tensor([[[[0.0, 0.0], [9.0, 9.0]], [[1.0, 1.0], [9.0, 9.0]]]])
    references = torch.tensor([[[[1.0, 3.0], [0.0, 0.0]], [[0.0, 2.0], [0.0, 0.0]]]])
    found = pair_squared_errors(estimates, references, torch.tensor([1]))
    assert found.tolist() == [[[5.0, 2.0], [2.0, 1.0]]]


def test_latents_made_in_the_step_are_those_that_would_be_stored():
    made, stored = make(loss="encoded").eval(), make(loss="latent").eval()
    batch = made.collate(examples())
    rows = []
    for example in examples():
        waves = torch.as_tensor(np.stack([example["mixture"], *example["sources"]]))
        latents, _ = made.encode(waves, torch.tensor([waves.shape[1]] * 3))
        rows.append({"id": "a", "mixture_latents": latents[0].numpy(), "source_latents": latents[1:].numpy()})
    torch.testing.assert_close(made.loss(batch)[0], stored.loss(stored.collate(rows))[0])


def test_fields_and_refusals():
    waves, latents = ("mixture", "sources"), ("mixture_latents", "source_latents")
    assert make().fields == make(loss="transmitted").fields == make(loss="encoded").fields == waves
    assert make(loss="latent").fields == latents and make(sample_rate=8000).sample_rate == 8000
    with pytest.raises(ModelError, match="E502.*3 sources, the network separates 2"):
        make().collate(examples(num_speakers=3))
    empty = {"id": "a", "mixture": np.zeros(0, np.float32), "sources": np.zeros((2, 0), np.float32)}
    with pytest.raises(ModelError, match="E502"):
        make().collate([empty])
