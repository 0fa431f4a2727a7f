"""What the judges are made of, and whether it is on this machine. No judge is needed: each is optional."""

from __future__ import annotations

from collections.abc import Collection
from importlib import metadata
from pathlib import Path

from codecsep.data.digest import file_sha256
from codecsep.data.downloads import BY_NAME, cache_dir
from codecsep.errors import CodecsepError

HOW_TO_INSTALL = 'pip install -e ".[metrics]" -c constraints.txt'


class MissingJudge(CodecsepError):
    """A judge that cannot be used here; the message says how to get it."""


def no_package(judge: str, package: str) -> MissingJudge:
    """The error of a judge whose package is not installed."""
    return MissingJudge("E546", f"the package {package} is missing", judge, HOW_TO_INSTALL)


NEEDS = {  # judge -> packages, weights
    "estoi": (("pystoi",), ()),
    "pesq": (("pesq",), ()),
    "sdr": (("fast_bss_eval",), ()),
    "speaker": ((), ("ge2e.pt",)),
    "dnsmos": (("onnxruntime",), ("dnsmos_p835.onnx", "dnsmos_p808.onnx")),
    "asr": (("jiwer",), ("whisper_tiny_en.pt", "gpt2.tiktoken")),
}


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
    if file_sha256(path) != weight.sha256:
        fix = "delete it, run tools/fetch_weights.py"
        raise MissingJudge("E547", f"{path} is not the pinned file", weight.purpose, fix)
    return path
