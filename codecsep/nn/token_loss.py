"""The loss of a network that predicts token ids, and the share that it gets right."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def token_loss(
    logits: Tensor, wanted: Tensor, ignored: int, label_smoothing: float = 0.0
) -> tuple[Tensor, dict[str, float]]:
    """Mean cross-entropy over all positions whose wanted id is not `ignored`, and {"cross_entropy", "accuracy"}.

    logits [B, S, V], wanted int64 [B, S]. At least one position must count: the mean of none is NaN.
    """
    loss = F.cross_entropy(
        logits.flatten(0, 1).float(), wanted.flatten(), ignore_index=ignored, label_smoothing=label_smoothing
    )
    hits = (logits.argmax(-1) == wanted)[wanted != ignored].float().mean()
    return loss, {"cross_entropy": float(loss.detach()), "accuracy": float(hits)}
