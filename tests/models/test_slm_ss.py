"""SLM-SS: the invariants of its sequence model, with toy networks and the paper's shapes."""

import numpy as np
import pytest
import torch

from codecsep.codecs import fbank, wavlm
from codecsep.codecs.encoders import EncoderConfig
from codecsep.decode.options import DecodeOptions
from codecsep.models import slm_ss
from codecsep.models.base import ModelError
from codecsep.nn.sequence_positions import PositionError
from codecsep.nn.sequence_step import SequenceStep
from codecsep.nn.transformer import TransformerConfig, count_parameters
from codecsep.tokens import sot

TINY = TransformerConfig(num_layers=2, width=16, num_heads=2, ffn_width=32)


def tiny_config(part, positions="time"):
    encoder = EncoderConfig(kind="fbank", fbank=fbank.Config(num_mels=20, conv_blocks=1, transformer=TINY))
    return slm_ss.Config(
        part=part, encoder=encoder, decoder=TINY, num_codebooks=4, codebook_size=10, positions=positions,
        max_positions=64, frame_rate=50.0,
    )  # fmt: skip


def tiny_model(part, positions="aligned"):
    torch.manual_seed(0)
    model = slm_ss.Model(tiny_config(part, positions)).eval()
    for parameter in model.parameters():  # far from the small initial weights, so that every path shows
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def examples(*frames):
    """Examples of two speakers with so many frames each, e.g. (5, 3)."""
    random = np.random.default_rng(1)
    made = []
    for i, sizes in enumerate(frames):
        codes = [random.integers(0, 10, (4, size)) for size in sizes]
        wav = random.standard_normal(320 * max(sizes)).astype(np.float32) * 0.1
        made.append({"id": f"utt{i}", "mixture": wav, "codes": codes})
    return made


def batch_of(model, made):
    return model.collate([e | {"sequence": model.sequence(e)} for e in made])


def test_sequence_is_serialised_speakers():
    model = tiny_model("ar")
    example = examples((5, 3))[0]
    sequence = model.sequence(example)
    assert sequence.shape == (4, 5 + 3 + 3)
    for ours, theirs in zip(sot.split(sequence, model.part.vocab), example["codes"], strict=True):
        assert np.array_equal(ours.numpy(), theirs)


@pytest.mark.parametrize("positions", ["time", "aligned", "absolute"])
def test_ar_logits_do_not_depend_on_tokens_to_come(positions):
    model = tiny_model("ar", positions)
    batch = batch_of(model, examples((5, 3)))
    memory, valid = model.part.encoder(batch["wav"], batch["lengths"])
    level0 = batch["sequence"][:, 0]
    before = model.part.logits(memory, valid, level0)
    changed = level0.clone()
    changed[0, 6] = (changed[0, 6] + 1) % 10
    after = model.part.logits(memory, valid, changed)
    torch.testing.assert_close(before[:, :6], after[:, :6])
    assert not torch.allclose(before[:, 6:], after[:, 6:], atol=1e-3)


def test_aligned_steps_read_the_frame_that_they_write():
    """The AR step before frame t of either speaker adds the memory's frame t; <sc> starts again at frame 0."""
    part = tiny_model("ar", "aligned").part
    vocab, frames = part.vocab, torch.arange(6.0)[None, :, None].expand(1, 6, 16)
    valid = torch.ones(1, 6, dtype=torch.bool)
    part.positions.frame.weight.data.copy_(torch.eye(16))
    part.positions.frame.bias.data.zero_()
    level0 = torch.tensor([[vocab.sos, 1, 2, 3, vocab.sc, 4, 5, vocab.eos]])
    added = part.place(level0, frames, valid) - part.place(level0, torch.zeros(1, 6, 16), valid)
    torch.testing.assert_close(added[0, :, 0], torch.tensor([0.0, 1, 2, 3, 0, 1, 2, 3]))
    nar = tiny_model("nar", "aligned").part
    nar.positions.load_state_dict(part.positions.state_dict())
    added = nar.place(level0, frames, valid) - nar.place(level0, torch.zeros(1, 6, 16), valid)
    torch.testing.assert_close(added[0, :, 0], torch.tensor([0.0, 0, 1, 2, 0, 0, 1, 2]))


def test_aligned_steps_stop_at_the_rows_own_last_frame():
    part = tiny_model("ar", "aligned").part
    memory, level0 = torch.randn(1, 6, 16), torch.tensor([[part.vocab.sos, 1, 2, 3, part.vocab.eos]])
    alone = part.place(level0, memory[:, :3], torch.ones(1, 3, dtype=torch.bool))
    padded = part.place(level0, memory, torch.tensor([[True] * 3 + [False] * 3]))
    torch.testing.assert_close(alone, padded)


def test_ar_reads_the_mixture():
    model = tiny_model("ar")
    batch = batch_of(model, examples((5, 3)))
    memory, valid = model.part.encoder(batch["wav"], batch["lengths"])
    logits = model.part.logits(memory, valid, batch["sequence"][:, 0])
    other = model.part.logits(-memory, valid, batch["sequence"][:, 0])
    assert not torch.allclose(logits, other, atol=1e-3)


@pytest.mark.parametrize("positions", ["time", "aligned", "absolute"])
def test_cached_steps_equal_teacher_forcing(positions):
    model = tiny_model("ar", positions)
    batch = batch_of(model, examples((5, 3), (4, 4)))
    memory, valid = model.part.encoder(batch["wav"], batch["lengths"])
    level0 = batch["sequence"][:, 0]
    full = model.part.logits(memory, valid, level0)
    step = SequenceStep(model.part, memory, valid)
    for i in range(level0.shape[1]):
        torch.testing.assert_close(step(level0[:, i]), full[:, i], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("part", ["ar", "nar"])
def test_loss_does_not_see_padding(part):
    model = tiny_model(part)
    short = examples((5, 3))[0]
    alone = batch_of(model, [short])
    padded = batch_of(model, [short, examples((9, 9))[0]])
    padded = {name: value[:1] for name, value in padded.items()}
    assert padded["sequence"].shape != alone["sequence"].shape
    torch.testing.assert_close(model.loss(alone)[0], model.loss(padded)[0], atol=1e-5, rtol=1e-5)


def test_nar_input_of_a_level_is_the_sum_of_those_below():
    model = tiny_model("nar")
    batch = batch_of(model, examples((5, 3)))
    memory, valid = model.part.encoder(batch["wav"], batch["lengths"])
    sequence, wanted = batch["sequence"], torch.tensor([2])
    before = model.part.hidden(memory, valid, sequence, wanted)
    for level, is_read in ((0, True), (1, True), (2, False), (3, False)):
        changed = sequence.clone()
        changed[0, level, 4] = (changed[0, level, 4] + 1) % 10
        after = model.part.hidden(memory, valid, changed, wanted)
        assert torch.allclose(before, after, atol=1e-6) is not is_read, f"level {level}"


def test_nar_position_reads_later_positions():
    model = tiny_model("nar")
    batch = batch_of(model, examples((5, 3)))
    memory, valid = model.part.encoder(batch["wav"], batch["lengths"])
    before = model.part.hidden(memory, valid, batch["sequence"], torch.tensor([1]))
    changed = batch["sequence"].clone()
    changed[0, 0, 8] = (changed[0, 0, 8] + 1) % 10
    after = model.part.hidden(memory, valid, changed, torch.tensor([1]))
    assert not torch.allclose(before[:, 2], after[:, 2], atol=1e-5)


def test_nar_head_of_a_level_is_its_own_table():
    model = tiny_model("nar").train()
    batch = batch_of(model, examples((5, 3)))
    torch.manual_seed(0)
    loss, _ = model.loss(batch)
    loss.backward()
    torch.manual_seed(0)
    level = int(model.part._draw_levels(1, torch.device("cpu")))
    moved = [t.weight.grad is not None and bool(t.weight.grad.any()) for t in model.part.tables.levels]
    assert moved == [i <= level for i in range(4)]


def test_nar_levels_of_mixed_rows_equal_rows_alone():
    model = tiny_model("nar")
    batch = batch_of(model, examples((5, 3), (6, 2)))
    memory, valid = model.part.encoder(batch["wav"], batch["lengths"])
    wanted = torch.tensor([1, 3])
    together = model.part.hidden(memory, valid, batch["sequence"], wanted)
    for row in range(2):
        rows = slice(row, row + 1)
        alone = model.part.hidden(memory[rows], valid[rows], batch["sequence"][rows], wanted[rows])
        torch.testing.assert_close(together[rows], alone, atol=1e-5, rtol=1e-4)


def test_greedy_batch_of_one_equals_batch_of_many():
    pipeline = slm_ss.join([tiny_model("nar"), tiny_model("ar")])
    mixtures = [e["mixture"] for e in examples((5, 3), (9, 9), (2, 1), (12, 4))]
    options = DecodeOptions(num_speakers=2)
    together = pipeline.separate(mixtures, options, list("abcd"))
    for i, mixture in enumerate(mixtures):
        alone = pipeline.separate([mixture], options, ["abcd"[i]])[0]
        assert len(alone.codes) == len(together[i].codes) == 2
        for ours, theirs in zip(alone.codes, together[i].codes, strict=True):
            assert torch.equal(ours, theirs)


def test_separate_keeps_the_bounds_and_the_specials_of_all_levels():
    pipeline = slm_ss.join([tiny_model("ar"), tiny_model("nar")])
    found = pipeline.separate([examples((6, 6))[0]["mixture"]], DecodeOptions(num_speakers=3, length_slack=0), ["a"])[0]
    assert len(found.codes) == 3
    assert all(c.shape[0] == 4 and 1 <= c.shape[1] <= 6 and int(c.max()) < 10 for c in found.codes)


def test_join_refuses_parts_that_do_not_fit():
    with pytest.raises(ModelError, match="one ar and one nar"):
        slm_ss.join([tiny_model("nar")])
    other = slm_ss.Model(slm_ss.Config(**{**vars(tiny_config("nar")), "codebook_size": 12}))
    with pytest.raises(ModelError, match="different codecs"):
        slm_ss.join([tiny_model("ar"), other])


@pytest.mark.parametrize("part", ["ar", "nar"])
def test_an_example_without_target_or_sound_is_refused_when_the_batch_is_made(part):
    model = tiny_model(part)
    good, silent = examples((5, 3), (0, 0))
    with pytest.raises(ModelError, match=r"^E502 utterance utt1: 0 samples and 0 frames to predict"):
        batch_of(model, [good, silent])
    with pytest.raises(ModelError, match=r"^E502 utterance utt1: 1600 samples and 0 frames to predict"):
        batch_of(model, [good, silent | {"mixture": good["mixture"]}])
    assert torch.isfinite(model.loss(batch_of(model, examples((5, 0))))[0])


def test_unknown_part_and_positions_are_refused():
    with pytest.raises(ModelError, match="allowed: ar, nar"):
        slm_ss.Model(tiny_config("both"))
    with pytest.raises(PositionError, match="allowed: absolute, time, aligned"):
        slm_ss.Model(tiny_config("ar", "rotary"))


def test_paper_config_has_the_papers_parameters():
    with torch.device("meta"):
        ar = slm_ss.Model(slm_ss.Config(part="ar")).part
        nar = slm_ss.Model(slm_ss.Config(part="nar")).part
    assert sum(count_parameters(block) for block in ar.decoder.blocks) == 268_713_984
    assert count_parameters(ar.encoder.network) == 315_452_096  # torchaudio's WavLM-large
    assert count_parameters(ar) / 1e6 == pytest.approx(590, abs=2)
    assert (count_parameters(nar) - count_parameters(nar.encoder)) / 1e6 == pytest.approx(282, abs=2)
    assert len(nar.tables.levels) == 8 and nar.tables.levels[0].weight.shape == (1027, 1024)


def test_wavlm_shape_trains_one_step_and_decodes():
    """A random WavLM-base (12 layers, 768 wide) with a decoder of its width: one loss, one backward, one decoding."""
    torch.manual_seed(0)
    encoder = EncoderConfig(kind="wavlm", wavlm=wavlm.Config(size="base"))
    decoder = TransformerConfig(num_layers=1, width=768, num_heads=12, ffn_width=256)
    model = slm_ss.Model(slm_ss.Config(part="ar", encoder=encoder, decoder=decoder, codebook_size=10, num_codebooks=4))
    example = examples((30, 20))[0]
    loss, _ = model.loss(batch_of(model, [example]))
    loss.backward()
    trained = [name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()]
    assert any("encoder.network" in name for name in trained)
    assert not any("feature_extractor" in name for name in trained)
    found = slm_ss.join([model.eval()]).separate([example["mixture"]], DecodeOptions(num_speakers=2), ["a"])[0]
    assert len(found.codes) == 2


@pytest.mark.long
def test_the_papers_network_trains_one_step_and_decodes():
    """The AR part at the paper's size, WavLM-large included, with random weights (590 M parameters, about 10 GB)."""
    torch.manual_seed(0)
    model = slm_ss.Model(slm_ss.Config(part="ar"))
    assert count_parameters(model) / 1e6 == pytest.approx(590, abs=2)
    random = np.random.default_rng(0)
    codes = [random.integers(0, 1024, (8, frames)) for frames in (38, 20)]
    example = {"id": "a", "mixture": (0.1 * random.standard_normal(8000)).astype(np.float32), "codes": codes}
    batch = batch_of(model, [example])
    loss, _ = model.loss(batch)
    loss.backward()
    assert np.log(1024) - 1 < float(loss.detach()) < np.log(1027) + 2, "near the loss of a guess"
    trained = [p for p in model.parameters() if p.grad is not None]
    norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(p.grad) for p in trained]))
    assert torch.isfinite(norm) and norm > 0
    with torch.no_grad():
        for parameter in trained:
            parameter -= 0.01 / norm * parameter.grad
    model.zero_grad(set_to_none=True)
    assert float(model.loss(batch)[0].detach()) < float(loss.detach())
    found = slm_ss.join([model.eval()]).separate([example["mixture"]], DecodeOptions(num_speakers=2), ["a"])[0]
    assert len(found.codes) == 2
    assert all(1 <= c.shape[1] <= 38 + 2 and 0 <= int(c.min()) and int(c.max()) < 1024 for c in found.codes)
