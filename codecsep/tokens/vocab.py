"""The only place that knows which integer is a code and which is a special token.

Codes of every level are 0 .. codebook_size - 1; three specials follow, the same in all levels (SLM-SS, section 2.1):
<sos> starts the sequence, <sc> stands between two speakers, <eos> ends it. The padding id lies outside the vocabulary,
so no network can predict it; it is also the ignore index of the losses.
"""

from dataclasses import dataclass

import torch

from codecsep.errors import CodecsepError

SPECIAL_NAMES = ("<sos>", "<sc>", "<eos>")


class VocabError(CodecsepError):
    """A vocabulary that cannot be."""


@dataclass(frozen=True)
class Vocab:
    """Token ids of a codec whose codebooks have `codebook_size` entries each; VocabError when that is not positive."""

    codebook_size: int

    def __post_init__(self):
        if self.codebook_size < 1:
            what = f"codebook_size is {self.codebook_size}, must be at least 1"
            raise VocabError("E803", what, "vocabulary", "see codec.json of the codec")

    @property
    def sos(self) -> int:
        return self.codebook_size

    @property
    def sc(self) -> int:
        return self.codebook_size + 1

    @property
    def eos(self) -> int:
        return self.codebook_size + 2

    @property
    def size(self) -> int:
        """Number of ids that a network predicts (V)."""
        return self.codebook_size + len(SPECIAL_NAMES)

    @property
    def pad(self) -> int:
        """Fills the tail of shorter rows of a batch; equal to `size`, so an embedding table needs size + 1 rows."""
        return self.size

    def is_code(self, ids: torch.Tensor) -> torch.Tensor:
        """True where `ids` (any shape) are codes."""
        return (ids >= 0) & (ids < self.codebook_size)

    def is_special(self, ids: torch.Tensor) -> torch.Tensor:
        """True where `ids` (any shape) are <sos>, <sc> or <eos>; padding is not special."""
        return (ids >= self.codebook_size) & (ids < self.size)

    def names(self) -> list[str]:
        """The name of every id, in order: code_0 .. code_(n-1), <sos>, <sc>, <eos>."""
        return [f"code_{index}" for index in range(self.codebook_size)] + list(SPECIAL_NAMES)
