"""The fields of one utterance, read when asked for: stored mixtures, and mixtures made on the fly.

An example is a dictionary with "id" and the asked fields; whatever runs over speakers is in SOT order.

    mixture   float32 [L]            codes      list of int64 [K, T_j], each of its speaker's own length
    sources   float32 [N, L]         sequence   int64 [K, S]
    wav       float32 [L]            of a directory of single sources

    mixture_latents   float32 [T, D]      of the codec, before its quantiser; each signal was divided by its own peak
    source_latents    float32 [N, T, D]   before it was encoded, and all have as many frames as the mixture
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from codecsep.data import audio, mixing
from codecsep.data.ark import ArkError, TokenReader, read_codec_info
from codecsep.data.datadir import DataDir
from codecsep.data.fields import (
    FRAME_RATE,
    LATENTS,
    Example,
    ExampleError,
    MakeSequence,
    check_dump,
    check_fields,
    open_codes,
    open_latents,
    stored_frames,
)
from codecsep.data.latent_ark import LatentReader
from codecsep.data.mixing import Config as MixingConfig
from codecsep.data.sources import SourceAudio


class Dataset:
    """The utterances of a data directory `data/<set>` and, for codes, sequences and latents, its `dump/<set>`.

    make_sequence: makes the field `sequence` from the other fields (a model's `sequence`); None reads seq.scp.
    max_frames: keep only the first so many codec frames, in waves, codes and latents alike (None: all).
    Utterances that stage 2 skipped are left out. Raises ExampleError on unknown fields and missing directories.
    """

    def __init__(
        self,
        data_dir: Path | str,
        dump_dir: Path | str | None = None,
        fields: Sequence[str] = ("mixture",),
        max_frames: int | None = None,
        make_sequence: MakeSequence | None = None,
    ):
        self.data, self.fields = DataDir(data_dir), check_fields(fields, make_sequence)
        self.max_frames, self.make_sequence = max_frames, make_sequence
        self.speakers = self.data.speakers()
        has_lengths = self.data.has("utt2num_samples")
        self.num_samples = self.data.integers("utt2num_samples") if has_lengths else {}
        self.dump = check_dump(dump_dir, self.fields)
        self.frame_rate = read_codec_info(self.dump).frame_rate if self.dump else FRAME_RATE
        self.num_frames = stored_frames(self.data, self.dump)
        self.ids = [key for key in self.data.ids if key in self.num_frames]
        self.readers = self._open_readers()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def lengths(self) -> list[int]:
        """Codec frames (20 ms where there is no dump directory) of each mixture, as cropped."""
        limit = self.max_frames or math.inf
        return [min(self.num_frames[key], limit) for key in self.ids]

    def __getitem__(self, index: int) -> Example:
        key = self.ids[index]
        example = {"id": key}
        for name in self.fields:
            if name != "sequence":
                example[name] = getattr(self, f"_{name}")(key)
        if "sequence" in self.fields:
            example["sequence"] = self.make_sequence(example) if self.make_sequence else self.readers["seq"][key]
        return example

    def _mixture(self, key: str) -> np.ndarray:
        return self._wave("wav.scp", key)

    _wav = _mixture

    def _sources(self, key: str) -> np.ndarray:
        waves = [self._wave(f"{self.speakers[index]}.scp", key) for index in self.data.order(key)]
        return mixing.combine(waves, [1.0] * len(waves))

    def _codes(self, key: str) -> list[np.ndarray]:
        order = self.data.order(key) if self.speakers else [0]
        names = [f"{name}_codes" for name in self.speakers] or ["codes"]
        return [self.readers[names[index]][key][:, : self.max_frames] for index in order]

    def _mixture_latents(self, key: str) -> np.ndarray:
        return self._latents(key, [self._mixture_name])[0]

    def _source_latents(self, key: str) -> np.ndarray:
        return self._latents(key, [f"{self.speakers[index]}_latents" for index in self.data.order(key)])

    def _latents(self, key: str, names: list[str]) -> np.ndarray:
        """[len(names), T, D], each as long as the mixture. Raises ArkError."""
        rows = [self.readers[name][key] for name in names]
        wanted = (self.num_frames[key], rows[0].shape[1])
        if any(row.shape != wanted for row in rows):
            what = f"latents {[list(row.shape) for row in rows]} of {key}, expected {list(wanted)} of each"
            raise ArkError("E305", what, self.dump, "run --stage 2 again")
        return np.stack([row[: self.max_frames] for row in rows])

    def _wave(self, table: str, key: str) -> np.ndarray:
        path = self.data.table(table).get(key)
        if path is None:
            raise ExampleError("E103", f"has no line for {key!r}", self.data.path / table, "run --stage 0 again")
        length = self.num_samples.get(key)
        samples, rate = audio.read_audio(path, declared=length if table == "wav.scp" else None)
        if length is not None and len(samples) > length:  # a source may end before its mixture
            audio.check_same_length({"wav.scp": length, table: len(samples)}, f"{self.data.path}: {key}")
        return samples if self.max_frames is None else samples[: round(self.max_frames * rate / self.frame_rate)]

    @property
    def _mixture_name(self) -> str:
        return "mixture_latents" if self.speakers else "latents"

    def _open_readers(self) -> dict[str, TokenReader | LatentReader]:
        names = [f"{name}_codes" for name in self.speakers] or ["codes"]
        names = names if "codes" in self.fields else []
        if "sequence" in self.fields and self.make_sequence is None:
            names.append("seq")
            if self.max_frames is not None:
                fix = "give max_frames without 'sequence'"
                raise ExampleError("E109", "stored sequences cannot be cropped", self.dump, fix)
        return {name: open_codes(self.dump, name) for name in names} | self._open_latents()

    def _open_latents(self) -> dict[str, TokenReader | LatentReader]:
        names = [self._mixture_name] if "mixture_latents" in self.fields else []
        if "source_latents" in self.fields:
            if not self.speakers:
                what = f"{self.data.path} holds no mixtures, so it has no field 'source_latents'"
                raise ExampleError("E109", what, "", "give a directory of mixtures: data/<set> and dump/<set>")
            names += [f"{name}_latents" for name in self.speakers]
        return {name: open_latents(self.dump, name) for name in names}


@dataclass(frozen=True)
class DynamicConfig:
    """Mixtures made on the fly. epoch_size: items per epoch. max_frames: longest mixture in codec frames (None: any);
    longer ones are cropped at random. level_jitter: dB, the level of the whole mixture is changed by up to +- this."""

    epoch_size: int = 5000
    max_frames: int | None = None
    level_jitter: float = 0.0
    mixing: MixingConfig = field(default_factory=MixingConfig)

    def __post_init__(self):
        if self.epoch_size < 1 or self.level_jitter < 0 or (self.max_frames is not None and self.max_frames < 2):
            fix = "epoch_size >= 1, level_jitter >= 0 and max_frames >= 2 are needed"
            raise ExampleError("E803", str(self), "dynamic", fix)


class DynamicDataset:
    """`epoch_size` mixtures per epoch out of `data/<set>_sources`, their codes cut from the cached ones of the sources.

    Codecs normalise the level inside, so the codes do not depend on the gain. Item i of epoch e is a pure function of
    (seed, e, i), whatever the number of workers. Raises ExampleError when sources cannot be mixed as asked.
    """

    def __init__(
        self,
        sources_dir: Path | str,
        dump_dir: Path | str | None,
        fields: Sequence[str],
        config: DynamicConfig,
        seed: int = 0,
        make_sequence: MakeSequence | None = None,
    ):
        self.config, self.seed, self.epoch, self.make_sequence = config, seed, 0, make_sequence
        self.fields = check_fields(fields, make_sequence)
        dump = check_dump(dump_dir, self.fields)
        self.mixer = mixing.DynamicMixer(str(sources_dir), config.mixing, seed)
        self.audio = SourceAudio(sources_dir)
        self.usable = stored_frames(DataDir(sources_dir), dump)
        self.frame_rate = read_codec_info(dump).frame_rate if dump else FRAME_RATE
        self.codes = open_codes(dump, "codes") if "codes" in self.fields else {}
        self._check()

    def set_epoch(self, epoch: int) -> None:
        """Choose the mixtures of this epoch; `lengths` change with it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.config.epoch_size

    @property
    def lengths(self) -> list[int]:
        """Codec frames of each mixture of this epoch, as cropped."""
        limit = self.config.max_frames or math.inf
        return [min(self._frames_of(self._draw(index)), limit) for index in range(len(self))]

    def __getitem__(self, index: int) -> Example:
        draw = self._draw(index)
        generator = np.random.default_rng([self.seed, self.epoch, index, 1])
        gain = 10 ** (generator.uniform(-1, 1) * self.config.level_jitter / 20)
        first, last = self._span(draw, generator)
        waves = [self.audio.wav(key)[self._samples(first) : self._samples(last)] for key in draw.ids]
        offsets = [round(seconds * self.audio.rate) for seconds in draw.offsets]
        gains = [gain * value for value in draw.gains]
        mixture, sources = mixing.mix(waves, gains, self.config.mixing.mode, offsets)
        order = draw.order if first == 0 else _order_of_crop(sources, self.audio.rate)
        made = {"mixture": lambda: mixture, "sources": lambda: sources[order]}
        made["codes"] = lambda: [self.codes[draw.ids[j]][:, first:last] for j in order]
        return self._finish("+".join(draw.ids[j] for j in order), made)

    def _finish(self, name: str, made: dict[str, Callable]) -> Example:
        example = {"id": name} | {key: make() for key, make in made.items() if key in self.fields}
        if "sequence" in self.fields:
            example["sequence"] = self.make_sequence(example)
        return example

    def name(self, index: int) -> str:
        """The utterances that an item is mixed of, without reading them."""
        return "+".join(self._draw(index).ids)

    def _draw(self, index: int) -> mixing.Draw:
        """The draw of an item; one with an utterance that stage 2 skipped is drawn again."""
        for attempt in range(1000):
            draw = self.mixer.item(self.epoch, index + attempt * len(self))
            if all(key in self.usable for key in draw.ids):
                return draw
        what = "1000 draws in a row held an utterance that stage 2 skipped"
        raise ExampleError("E108", what, self.audio.path, "see skipped.tsv of stage 2 and mend the audio")

    def _source_frames(self, draw: mixing.Draw) -> list[int]:
        """Frames of each source in the mixture before cropping; in mode "min" all are cut to the shortest."""
        frames = [math.ceil(self.audio.num_samples[key] * self.frame_rate / self.audio.rate) for key in draw.ids]
        return [min(frames)] * len(frames) if self.config.mixing.mode == "min" else frames

    def _frames_of(self, draw: mixing.Draw) -> int:
        return max(self._source_frames(draw)) + math.ceil(max(draw.offsets) * self.frame_rate)

    def _span(self, draw: mixing.Draw, generator: np.random.Generator) -> tuple[int, int]:
        """First and last (exclusive) frame; the shortest source fills half of a crop, or is in it from its start."""
        frames = self._source_frames(draw)
        size = self.config.max_frames or max(frames)
        latest = min(max(frames) - size, max(0, min(frames) - size // 2))
        first = int(generator.integers(0, max(0, latest) + 1))
        return first, first + min(size, max(frames))

    def _samples(self, frame: int) -> int:
        return round(frame * self.audio.rate / self.frame_rate)

    def _check(self) -> None:
        offsets = self.config.mixing.max_offset > 0
        if offsets and (self.codes or self.config.max_frames):
            what = "cached codes and crops know no silence before a source, max_offset is above 0"
            raise ExampleError("E803", what, "mixing", "set max_offset to 0")
        if "sequence" in self.fields and self.make_sequence is None:
            what = "mixtures made on the fly have no stored sequence"
            raise ExampleError("E109", what, "", "give make_sequence")
        if set(LATENTS) & set(self.fields):
            what = "the latents of a mixture are not the sum of its sources', so none are stored of one made on the fly"
            raise ExampleError("E109", what, "", "set data.train to static, and give data/<set> and dump/<set>")
        if "wav" in self.fields:
            what = "the field 'wav' is one of single sources"
            raise ExampleError("E109", what, "", "mixtures have 'mixture' and 'sources'")


def _order_of_crop(sources: np.ndarray, rate: int) -> list[int]:
    """SOT order of sources [N, L] that were cut from longer ones; one that is silent in the crop comes last."""
    energy = (sources**2).sum(axis=1)
    onsets = [mixing.onset(row, rate) if power > 0 else math.inf for row, power in zip(sources, energy, strict=True)]
    return mixing.order_by(np.nan_to_num(onsets, posinf=1e9), np.log10(energy + 1e-20))
