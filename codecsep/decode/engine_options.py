"""How the autoregressive decoder computes, apart from what it chooses: one frozen dataclass, checked when made."""

from __future__ import annotations

from dataclasses import dataclass

from codecsep.decode.options import refused

CHOICES = {
    "precision": ("fp32", "bf16", "int8"),
    "cache": ("auto", "fp32", "bf16"),
    "policy": ("auto", "compacted", "refilled"),
    "attention": ("auto", "fused", "matmul", "matvec"),
}
LOWEST = {"slots": 1, "bucket": 1, "look_every": 0}
GPU_LOOK_EVERY = 16


@dataclass(frozen=True)
class EngineOptions:
    """Options of the engine; in fp32 none of them changes a token (away from ties in the last bits).

    precision: of the weights. int8 (CPU): inputs as well, a scale per row; int8 (GPU): weights alone, for few slots.
    cache: of keys and values; auto: bf16 when precision is bf16 or int8, else fp32.
    policy: compacted: batches of `slots` sorted by length, from which ended rows leave (a CPU does less work in smaller
        batches); refilled: a waiting mixture takes the place of one that has ended (a GPU takes as long for a smaller
        batch, and captured graphs want one shape); auto: by the device.
    bucket: cached positions that a refilled step looks at are a multiple of this; on a GPU each has its own graph.
    look_every: steps between two looks at which rows have ended; 0: 1 on a CPU, 16 on a GPU, for which looking is
        waiting.

    Raises:
        OptionError: a value is out of range.
    """

    slots: int = 8  # mixtures at a time
    precision: str = "fp32"  # fp32 | bf16 | int8
    cache: str = "auto"  # auto | fp32 | bf16
    policy: str = "auto"  # auto | compacted | refilled
    attention: str = "auto"  # auto | fused | matmul | matvec
    bucket: int = 128
    look_every: int = 0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise refused(f"{name} is {value!r}; allowed: {', '.join(allowed)}", f"set {name} to one of them")
        for name, low in LOWEST.items():
            value = getattr(self, name)
            if value < low:
                raise refused(f"{name} is {value}; it must be at least {low}", f"set {name} to {low} or more")

    def cache_of(self) -> str:
        """The precision of keys and values."""
        if self.cache != "auto":
            return self.cache
        return "fp32" if self.precision == "fp32" else "bf16"

    def policy_of(self, on_gpu: bool) -> str:
        """The policy for this device."""
        if self.policy != "auto":
            return self.policy
        return "refilled" if on_gpu else "compacted"

    def looks(self, on_gpu: bool, leave_every: int) -> int:
        """Steps between two looks: as asked here, or what the decoding options say, on a GPU at least 16."""
        return self.look_every or max(leave_every, GPU_LOOK_EVERY if on_gpu else 1)
