"""`codec.json`: the description of the codec that made some tokens, and whether they are used with the same one."""

import json
import math
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from codecsep.data import atomic
from codecsep.errors import CodecsepError

OPTIONAL = {"delay_samples", "output_rate", "chunk"}


class ArkError(CodecsepError):
    """A token file that cannot be trusted; the message names the file, the utterance and the stage that repairs it."""


@dataclass(frozen=True)
class CodecInfo:
    """What must be known of a codec to use its codes.

    fingerprint: sha256 of its weights, in hex. sample_rate, hop: of the audio that it encodes; output_rate: of what it
    decodes (left out: the same). delay_samples: by which decoded speech lags, at output_rate. chunk: codes come in
    multiples of so many frames, the last ones filled up.
    """

    name: str
    fingerprint: str
    sample_rate: int
    frame_rate: float
    hop: int
    num_codebooks: int
    codebook_size: int
    delay_samples: int = 0
    output_rate: int = 0
    chunk: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "output_rate", self.output_rate or self.sample_rate)


def write_codec_info(directory: Path | str, info: CodecInfo) -> None:
    """Write `codec.json` into `directory`, beside and renamed."""
    atomic.write_text(Path(directory) / "codec.json", json.dumps(asdict(info), indent=2) + "\n")


def read_codec_info(directory: Path | str) -> CodecInfo:
    """Read `codec.json` of a codec or dump directory. Raises ArkError when missing, unreadable or with other fields."""
    path, fix = Path(directory) / "codec.json", "make it again with --stage 1 (codec) or --stage 2 (tokenise)"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArkError("E308", "missing", path, fix) from None
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ArkError("E308", f"is not JSON ({error})", path, fix) from None
    names = {field.name for field in fields(CodecInfo)}
    if not isinstance(given, dict) or not names - OPTIONAL <= set(given) <= names:
        raise ArkError("E308", f"must hold exactly {', '.join(sorted(names))}", path, fix)
    info = CodecInfo(**given)
    if wrong := [name for name, is_right in _right_fields(info).items() if not is_right]:
        listed = ", ".join(f"{name} = {str(getattr(info, name))[:40]}" for name in wrong)
        raise ArkError("E308", f"holds values that cannot be: {listed}", path, fix)
    return info


def _right_fields(info: CodecInfo) -> dict[str, bool]:
    """Which fields are of their type and range. The name becomes the name of a module and of a file."""
    counts = ("sample_rate", "output_rate", "hop", "num_codebooks", "codebook_size", "chunk")
    right = {name: type(value := getattr(info, name)) is int and 0 < value < 1 << 31 for name in counts}
    right["name"] = isinstance(info.name, str) and bool(re.fullmatch(r"[a-z][a-z0-9_]{0,63}", info.name))
    right["fingerprint"] = isinstance(info.fingerprint, str) and bool(re.fullmatch("[0-9a-f]{1,64}", info.fingerprint))
    rate = info.frame_rate
    right["frame_rate"] = type(rate) in (int, float) and math.isfinite(rate) and 0 < rate < 1e6
    right["delay_samples"] = type(info.delay_samples) is int and abs(info.delay_samples) < 1 << 31
    return right


def require_codec(directory: Path | str, wanted: CodecInfo) -> CodecInfo:
    """`codec.json` of a dump directory, whose codes are to be used with the codec `wanted`. Raises ArkError when they
    were made by another one, or by other weights (the delay does not count: it changes no code)."""
    found = read_codec_info(directory)
    names = [field.name for field in fields(CodecInfo) if field.name != "delay_samples"]
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in names}
    if other := [f"{name} {str(a)[:12]}, not {str(b)[:12]}" for name, (a, b) in pairs.items() if a != b]:
        what = f"was made by another codec than the one it is used with: {'; '.join(other)}"
        fix = "run --stage 2 again, or give the codec it was made by"
        raise ArkError("E303", what, Path(directory) / "codec.json", fix)
    return found
