"""What the fuzzers feed bytes to: each function may raise nothing but CodecsepError, and checks what it is given back.

They need no fuzzer: test_targets.py runs them over the corpus and over everything that was ever found.
"""

import io
import math
import struct
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from codecsep import config, plain_yaml
from codecsep.data import audio, datadir, wave_file
from codecsep.data.ark import TokenReader
from codecsep.errors import CodecsepError

FOLDER = Path(tempfile.mkdtemp(prefix="codecsep-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
BORDER = b"\n====\n"  # between the parts of an input that stands for several files


def scp(data: bytes) -> None:
    """A table: what is read is written back to the same."""
    for name in ("wav.scp", "text"):
        path = FOLDER / name
        path.write_bytes(data)
        try:
            table = datadir.read_table(path, allow_empty=name == "text")
        except CodecsepError as error:
            _checked(error)
            continue
        assert all(key and key.isprintable() and "/" not in key for key in table)
        datadir.write_table(path, table)
        assert datadir.read_table(path, allow_empty=True) == table
        for read in ("integers", "floats"):
            try:
                getattr(datadir.DataDir(FOLDER), read)(name)
            except CodecsepError as error:
                _checked(error)


def ark(data: bytes) -> None:
    """scp, crc and ark: codes in range, or an error."""
    parts = (data.split(BORDER, 2) + [b"", b""])[:3]
    for ending, part in zip(("scp", "crc", "ark"), parts, strict=True):
        (FOLDER / f"a.{ending}").write_bytes(part.replace(b"@", str(FOLDER / "a.ark").encode()))
    for make in (TokenReader, TokenReader.foreign):
        try:
            reader = make(FOLDER / "a.scp", 1000)
        except CodecsepError as error:
            _checked(error)
            continue
        for key in list(reader)[:50]:
            _read_codes(reader, key)
        reader.close()


def _read_codes(reader: TokenReader, key: str) -> None:
    for read in (reader.num_frames, reader.__getitem__):
        try:
            found = read(key)
        except CodecsepError as error:
            _checked(error)
            continue
        if isinstance(found, np.ndarray):
            assert found.dtype == np.int64 and found.size and 0 <= found.min() and found.max() < 1000


def riff(data: bytes) -> None:
    """A sound file: never more samples than bytes; as many as libsndfile says when both take the file."""
    path = FOLDER / "a.wav"
    path.write_bytes(data)
    for read in (audio.num_samples, audio.sample_rate, audio.read_audio):
        try:
            read(path)
        except CodecsepError as error:
            _checked(error)
    if data[:4] in (b"RIFF", b"RIFX", b"RF64"):
        _compare(data)
    elif data[:4] == b"OggS":
        wave_file.ogg_fault(io.BytesIO(data))


def _compare(data: bytes) -> None:
    try:
        promise = wave_file.read_riff(io.BytesIO(data), "a.wav")
        info = soundfile.info(io.BytesIO(data))
    except (CodecsepError, soundfile.LibsndfileError):
        return
    if promise is None or promise.promised is None:
        return
    assert promise.held * promise.block <= len(data)
    plain = info.format in ("WAV", "WAVEX") and info.subtype.startswith(("PCM", "FLOAT", "DOUBLE"))
    if plain and promise.unit == "samples" and 0 < promise.promised <= promise.held and _is_regular(data):
        assert info.frames == promise.promised, (info.frames, promise)


def _is_regular(data: bytes) -> bool:
    """A header whose block is what its channels and bits give, and nothing in the file that looks like another chunk of
    samples or format: libsndfile mends others in its own way, and looks for chunks even inside what is no chunk."""
    channels, _, _, block, bits = struct.unpack("<HIIHH", data[22:36])
    alone = data.count(b"data") == data.count(b"fmt ") == 1
    agrees = 0 < channels <= 16 and bits % 8 == 0 and block * 8 == channels * bits
    return alone and data[12:20] == b"fmt \x10\0\0\0" and agrees


@dataclass
class Inner:
    rate: float = 1e-3
    pair: tuple[float, float] = (0.9, 0.98)
    kind: Literal["constant", "cosine"] = "cosine"


@dataclass
class Settings:
    name: str = "x"
    count: int = 1
    limit: int | None = None
    flag: bool = False
    where: Path | None = None
    inner: Inner = field(default_factory=Inner)
    many: list[Inner] = field(default_factory=list)


def yaml(data: bytes) -> None:
    """A configuration: plain values that survive being written, or an error; never a value of another type."""
    path = FOLDER / "a.yaml"
    path.write_bytes(data)
    try:
        values = plain_yaml.read_yaml(path)
    except CodecsepError as error:
        _checked(error)
        return
    _plain(values)
    assert plain_yaml.parse_yaml(plain_yaml.dump_yaml(values), "again") == values
    try:
        settings = config.load(Settings, path)
    except CodecsepError as error:
        _checked(error)
        return
    assert isinstance(settings.count, int) and not isinstance(settings.count, bool) and isinstance(settings.name, str)
    assert isinstance(settings.inner.rate, float) and isinstance(settings.flag, bool)


def _plain(value: object) -> None:
    if isinstance(value, dict):
        assert all(isinstance(key, str) for key in value)
        for item in value.values():
            _plain(item)
    elif isinstance(value, list):
        for item in value:
            _plain(item)
    else:
        assert value is None or isinstance(value, (str, bool, int, float))
        assert not (isinstance(value, float) and math.isnan(value))


def _checked(error: CodecsepError) -> None:
    text = str(error)
    assert text.isprintable() and text[:1] == "E" and "(fix: " in text and len(text) < 20_000, text


TARGETS = {"scp": scp, "ark": ark, "riff": riff, "yaml": yaml}
