"""Token tables: what is tied, what is shared, what starts from the codec."""

import torch

from codecsep.nn.codebooks import CodebookTables, PlainTables, make_tables


def test_plain_tables_are_tied():
    tables = make_tables(2, 13, 8, 0)
    assert isinstance(tables, PlainTables)
    weight, bias = tables.output(1)
    assert bias is None and weight is tables.levels[1].weight
    assert torch.equal(tables.embed(1, torch.tensor([3])), weight[3:4])


def test_codebook_rows_are_projected_code_vectors():
    torch.manual_seed(0)
    tables = make_tables(3, 13, 8, 4)
    assert isinstance(tables, CodebookTables)
    tables.codebooks[2].codes.data.mul_(0.1)
    weight, bias = tables.output(2)
    assert weight.shape == (13, 8) and bias.shape == (13,)
    level = tables.codebooks[2]
    wanted = level.codes[5] / level.codes.square().mean().sqrt() @ tables.widen.weight.T
    torch.testing.assert_close(weight[5], wanted)
    assert torch.equal(weight[10:], tables.specials)


def test_sum_of_embedded_levels_is_the_embedded_sum_of_code_vectors():
    torch.manual_seed(0)
    tables = CodebookTables(3, 13, 8, 4)
    ids = torch.tensor([[1, 2, 3], [4, 0, 9], [7, 7, 2]])
    total = sum(tables.embed(level, ids[level]) for level in range(3))
    vectors = sum(tables.codebooks[level].codes[ids[level]] for level in range(3))
    wanted = 8.0 * tables.widen(vectors / tables.codebooks[0].rms())
    torch.testing.assert_close(total, wanted)


def test_like_codes_have_like_logits_from_the_start():
    torch.manual_seed(0)
    tables = CodebookTables(1, 13, 8, 4)
    tables.codebooks[0].codes.data[1] = tables.codebooks[0].codes.data[0] + 1e-4
    weight, _ = tables.output(0)
    logits = torch.randn(8) @ weight.T
    assert abs(float((logits[0] - logits[1]).detach())) < 1e-4


def test_gradient_reaches_codes_projection_specials_and_biases():
    tables = CodebookTables(2, 13, 8, 4)
    weight, bias = tables.output(1)
    logits = torch.nn.functional.linear(torch.randn(3, 8), weight, bias)
    (logits.square().sum() + tables.embed(0, torch.arange(13)).sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in tables.parameters())


def test_confusion_of_no_spread_changes_nothing():
    torch.manual_seed(0)
    tables = CodebookTables(3, 13, 8, 4)
    codes = torch.randint(0, 10, (2, 3, 7))
    assert torch.equal(tables.confuse(codes, torch.zeros(2)), codes)


def test_confused_levels_make_up_for_level_0():
    """After a mistake in level 0 the higher levels come closer to the latent than they were without changing."""
    torch.manual_seed(0)
    tables = CodebookTables(4, 67, 8, 4)
    for k, book in enumerate(tables.codebooks):
        book.codes.data.mul_(0.6**k)
    codes = torch.randint(0, 64, (8, 4, 50))
    latents = sum(tables.vectors(k)[codes[:, k]] for k in range(4))
    wrong = tables.confuse(codes, torch.full((8,), 0.5))
    changed = wrong[:, 0] != codes[:, 0]
    assert 0.2 < float(changed.float().mean()) < 1.0
    assert torch.equal(wrong.transpose(1, 2)[~changed], codes.transpose(1, 2)[~changed])
    kept = sum(tables.vectors(k)[(wrong if k == 0 else codes)[:, k]] for k in range(4))
    mended = sum(tables.vectors(k)[wrong[:, k]] for k in range(4))
    errors = [float(((x - latents) ** 2).sum(-1)[changed].mean()) for x in (kept, mended)]
    assert errors[1] < 0.7 * errors[0]


def test_near_codes_are_confused_more_often_than_far_ones():
    torch.manual_seed(0)
    tables = CodebookTables(1, 6, 8, 2)
    tables.codebooks[0].codes.data.copy_(torch.tensor([[1.0, 0.0], [0.9, 0.3], [-1.0, 0.0]]))
    drawn = tables.confuse(torch.zeros(1, 1, 4000, dtype=torch.int64), torch.tensor([0.3]))
    counts = torch.bincount(drawn.flatten(), minlength=3)
    near = torch.exp(-0.1 / (2 * 0.3**2 * tables.vectors(0).square().sum(1).mean()))
    assert int(counts[2]) == 0
    assert abs(float(counts[1]) / 4000 - float(near / (1 + near))) < 0.03
