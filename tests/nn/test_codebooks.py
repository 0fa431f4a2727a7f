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
