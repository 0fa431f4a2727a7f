"""Random draws follow their distribution; replacement touches what is allowed and only a share of it."""

import torch

from codecsep.nn.sampling import replace_share, sample


def test_samples_follow_the_softmax():
    torch.manual_seed(0)
    logits = torch.tensor([1.0, 0.0, -2.0])
    counts = torch.bincount(sample(logits.expand(20000, 3)), minlength=3) / 20000
    torch.testing.assert_close(counts, logits.softmax(-1), atol=0.015, rtol=0)


def test_replacement():
    torch.manual_seed(0)
    ids, others = torch.zeros(10000, dtype=torch.int64), torch.ones(10000, dtype=torch.int64)
    allowed = torch.arange(10000) % 2 == 0
    assert replace_share(ids, others, 0.0, allowed) is ids
    replaced = replace_share(ids, others, 0.3, allowed)
    assert not replaced[~allowed].any()
    assert abs(float(replaced[allowed].float().mean()) - 0.3) < 0.03
