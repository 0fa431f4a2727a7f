"""What a separator found -> waveforms: codes are decoded, latents synthesised, waveforms taken as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from codecsep.bin.window import SeparationError
from codecsep.codecs.base import Codec
from codecsep.models.base import Separation
from codecsep.tokens.padding import pad_sequences

OTHER_CODEC = "give the codec that the model was trained with (--codec)"


@dataclass
class Rendered:
    """The speakers of one mixture: waveforms float32 [L_j], and how long each is in codec frames (without a codec: in
    samples)."""

    waves: list[np.ndarray]
    frames: list[int]


@dataclass
class Renderer:
    """Speakers of a batch -> waveforms at the codec's `output_rate`, `batch_size` of them at a time.

    codec: None for separators that give waveforms.
    """

    codec: Codec | None
    batch_size: int
    device: str = "cpu"

    def __call__(self, separations: Sequence[Separation], names: Sequence[str]) -> list[Rendered]:
        """One result per mixture.  Raises SeparationError when codec and speakers do not fit."""
        rendered = [Rendered([], []) for _ in separations]
        for kind, make in (("codes", self._decoded), ("latents", self._synthesised), ("waves", self._taken)):
            places = [place for place, separation in enumerate(separations) if getattr(separation, kind)]
            speakers = [(place, speaker) for place in places for speaker in getattr(separations[place], kind)]
            if speakers:
                made = make([speaker for _, speaker in speakers], [names[place] for place, _ in speakers])
                for (place, _), (wave, frames) in zip(speakers, made, strict=True):
                    rendered[place].waves.append(wave)
                    rendered[place].frames.append(frames)
        return rendered

    def _taken(self, waves: list[Tensor], names: list[str]) -> list[tuple[np.ndarray, int]]:
        return [(np.asarray(torch.as_tensor(wave).cpu(), np.float32), len(wave)) for wave in waves]

    def _decoded(self, codes: list[Any], names: list[str]) -> list[tuple[np.ndarray, int]]:
        matrices = [self._checked(matrix, name) for matrix, name in zip(codes, names, strict=True)]
        decode = self._codec(names[0]).decode
        sizes = [matrix.shape[1] for matrix in matrices]
        return list(zip(self._in_batches(matrices, sizes, decode), sizes, strict=True))

    def _synthesised(self, latents: list[Tensor], names: list[str]) -> list[tuple[np.ndarray, int]]:
        codec = self._codec(names[0])
        wrong = next((x.shape for x in latents if x.dim() != 2 or x.shape[1] != codec.latent_size), None)
        if wrong is not None:
            what = f"latents have shape {list(wrong)}, codec {codec.info.name!r} takes [T, {codec.latent_size}]"
            raise SeparationError("E532", what, names[0], OTHER_CODEC)
        sizes = [len(frames) for frames in latents]
        turned = [frames.T for frames in latents]  # [D, T]: batches are padded at the last axis

        def synthesise(batch: Tensor, lengths: Tensor) -> Tensor:
            with torch.inference_mode():
                return codec.synthesise(batch.transpose(1, 2), lengths)

        return list(zip(self._in_batches(turned, sizes, synthesise), sizes, strict=True))

    def _in_batches(
        self, matrices: list[Tensor], sizes: list[int], make: Callable[[Tensor, Tensor], Tensor]
    ) -> list[np.ndarray]:
        """Matrices [.., T_j] -> waveforms, in batches of similar length; no frames give no samples."""
        waves = [np.zeros(0, np.float32) for _ in matrices]
        sounding = sorted((place for place, size in enumerate(sizes) if size), key=lambda place: sizes[place])
        for start in range(0, len(sounding), self.batch_size):
            places = sounding[start : start + self.batch_size]
            batch, lengths = pad_sequences([matrices[place] for place in places], 0)
            made = make(batch.to(self.device), lengths.to(self.device)).cpu().numpy()
            for row, place in zip(made, places, strict=True):
                waves[place] = row[: self.codec.num_samples(sizes[place])]
        return waves

    def _codec(self, name: str) -> Codec:
        if self.codec is None:
            raise SeparationError("E532", "the model gives no waveforms, and there is no codec", name, OTHER_CODEC)
        return self.codec

    def _checked(self, codes: Any, name: str) -> Tensor:
        """One speaker's codes as int64 [K, T], 1 <= K <= the codec's, ids within the codebooks."""
        info, matrix = self._codec(name).info, torch.as_tensor(codes).to("cpu", torch.int64)
        if matrix.dim() != 2 or not 1 <= matrix.shape[0] <= info.num_codebooks:
            allowed = f"[K, T], K up to {info.num_codebooks}"
            what = f"codes have shape {list(matrix.shape)}, codec {info.name!r} takes {allowed}"
            raise SeparationError("E532", what, name, OTHER_CODEC)
        if matrix.numel() and not 0 <= int(matrix.min()) <= int(matrix.max()) < info.codebook_size:
            found = f"{int(matrix.min())} .. {int(matrix.max())}"
            what = f"codes are {found}, codec {info.name!r} has 0 .. {info.codebook_size - 1}"
            raise SeparationError("E532", what, name, OTHER_CODEC)
        return matrix
