"""Scale-invariant signal-to-distortion ratio (Le Roux et al. 2019; Codecformer, arXiv 2406.12434, its score)."""

from __future__ import annotations

import numpy as np
import torch


def si_sdr(estimate, reference, lengths=None):
    """SI-SDR in dB, means removed; differentiable in torch.

    Args:
        estimate, reference: arrays or tensors of shape [..., L], the same shape; any scale.
        lengths: optional [...] whole numbers, valid samples of each signal; what follows is left out.
    Returns:
        [...] in dB, of the kind that was given (numpy -> float64). It is nan where the reference or the estimate is
        silent (nothing to divide by), and bounded by the precision: about 69 dB in float32, 156 dB in float64.
    Raises:
        ValueError: when the shapes differ.
    """
    if not isinstance(estimate, torch.Tensor):
        length_tensor = None if lengths is None else torch.as_tensor(np.asarray(lengths))
        pair = [torch.from_numpy(np.asarray(x, dtype=np.float64)) for x in (estimate, reference)]
        return si_sdr(*pair, length_tensor).numpy()[()]
    if estimate.shape != reference.shape:
        raise ValueError(
            f"si_sdr: estimate {tuple(estimate.shape)} and reference {tuple(reference.shape)} differ in shape; "
            "trim or pad the estimate to the length of the reference first"
        )
    estimate, reference = _centre(estimate, lengths), _centre(reference, lengths)
    return _ratio_db(estimate, reference)


def _centre(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """[..., L] with its mean over the valid samples removed and zeros behind them."""
    if lengths is None:
        return x - x.mean(-1, keepdim=True)
    valid = torch.arange(x.shape[-1], device=x.device) < lengths.to(x.device)[..., None]
    x = x.masked_fill(~valid, 0.0)
    mean = x.sum(-1, keepdim=True) / valid.sum(-1, keepdim=True).clamp(min=1)
    return (x - mean) * valid


def _ratio_db(estimate: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """10 log10(|a r|^2 / |e - a r|^2) with a = <e, r> / |r|^2 of centred signals [..., L] -> [...]."""
    precision = torch.finfo(estimate.dtype)
    energy = reference.square().sum(-1)
    alpha = (estimate * reference).sum(-1) / energy.clamp(min=precision.tiny)
    target = alpha[..., None] * reference
    kept = target.square().sum(-1)
    lost = (estimate - target).square().sum(-1)
    total = kept + lost
    floor = precision.eps * total + precision.tiny
    decibel = 10.0 * torch.log10(kept.clamp(min=floor) / lost.clamp(min=floor))
    silent = (energy <= precision.tiny) | (total <= precision.tiny)
    return decibel.masked_fill(silent, float("nan"))
