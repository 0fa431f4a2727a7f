"""A codec directory: how it appears whole, what is written into it, and the delay that is measured before that."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codecsep import config
from codecsep.codecs.base import Codec, CodecError, load
from codecsep.data import atomic, audio, manifest
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.data.datadir import read_table
from codecsep.data.digest import file_sha256
from codecsep.data.lock import locked
from codecsep.faults import faultpoint

if TYPE_CHECKING:  # what is up to date is told without torch
    import numpy as np
    from torch import Tensor

NUM_DELAY_SIGNALS = 32  # recordings
LONGEST_DELAY = 0.05  # s, either way
WAVEFORM_KEPT = 0.5  # mean correlation of resynthesis and input above which a delay is believed


def make(out: Path, work: manifest.Work, fill: Callable[[Path], None], forced: bool) -> bool:
    """Let `fill` write files into a new directory that takes the place of `out`; True: it stands and is up to date."""
    if not forced and manifest.current(out, work) is None:
        return True
    with locked(out.parent, f".{out.name}.lock"), atomic.replacing_dir(out) as beside:
        fill(beside)
        manifest.finish(beside, work, sorted(beside.iterdir()), manifest.Counts(1, 1))
    return False


def write(folder: Path, state: dict[str, Tensor], sizes: Any, info: CodecInfo, data: Path) -> None:
    """The files of a codec: weights, config.yaml, and codec.json with the weights' SHA-256 and the delay on `data`.

    The same tensors give the same bytes.
    """
    from safetensors.torch import save_file

    weights = folder / f"{info.name}.safetensors"
    save_file({name: value.contiguous() for name, value in sorted(state.items())}, weights)
    weights.chmod(0o644)
    atomic.write_text(folder / "config.yaml", config.dump(sizes))
    info = replace(info, fingerprint=file_sha256(weights))
    write_codec_info(folder, info)
    faultpoint("codec.mid")
    write_codec_info(folder, replace(info, delay_samples=measure_delay(folder, data)))


def require_data(data: Path | None) -> list[Path]:
    """The lists of the recordings on which a delay is measured: what the work depends on.

    Raises CodecError when there are none: the delay must be measured on real speech before it is stored.
    """
    if data is None:
        what = "the codec's delay is measured on recordings"
        raise CodecError("E356", what, "--data", "give --data data/dev_sources")
    made = manifest.require_unless_brought(data, "0")
    return [manifest.manifest_file(data)] if made else [data / "wav.scp"]


def measure_delay(directory: Path, data: Path) -> int:
    """Samples at the codec's output rate by which the resynthesis lags its input (negative: leads); 0, and a line that
    says so, when the waveform is not kept, or when the codes have no sound at all."""
    from codecsep.signal.delay import constant_delay

    codec = load(directory)
    try:
        pairs = list(resynthesised(codec, data))
    except CodecError as error:
        if error.code != "E357":
            raise
        print(f"codec {codec.info.name}: {error.what}: there is no delay", file=sys.stderr)
        return 0
    delay, correlation = constant_delay(pairs, round(LONGEST_DELAY * codec.info.output_rate))
    if correlation >= WAVEFORM_KEPT:
        return delay
    print(
        f"codec {codec.info.name} does not keep the waveform (mean correlation {correlation:.2f}): "
        "there is no constant delay, and SI-SDR of its output means nothing",
        file=sys.stderr,
    )
    return 0


def resynthesised(codec: Codec, data: Path) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(resynthesis, recording) at the codec's output rate, of one length, for some recordings spread over `data`."""
    import torch

    paths = list(read_table(data / "wav.scp").values())
    info = codec.info
    for path in paths[:: -(-len(paths) // NUM_DELAY_SIGNALS)]:
        samples, _ = audio.read_audio(path, info.sample_rate)
        codes, frame_lengths = codec.encode(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
        decoded = codec.decode(codes, frame_lengths)[0, : codec.num_samples(int(frame_lengths))].numpy()
        recorded = audio.resample(samples, info.sample_rate, info.output_rate)
        size = min(len(decoded), len(recorded))
        yield decoded[:size], recorded[:size]
