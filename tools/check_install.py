#!/usr/bin/env python3
"""Say which packages are installed, what each is for and how to get the missing ones; try to import each.

Each import runs in a process of its own with a time limit, so that a broken package cannot stop the check.
Exit status 1 only when a package of the core is missing or does not import; the others are optional.
"""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 120
SHIM = "from codecsep.torch_audio import import_torchaudio; import_torchaudio(); "


class Package(NamedTuple):
    """One row of the table: name on PyPI, what to run as an import test, its extra, what it is for."""

    name: str
    test: str
    extra: str
    purpose: str


PACKAGES = [
    Package("torch", "import torch", "core", "networks"),
    Package("numpy", "import numpy", "core", "arrays"),
    Package("scipy", "import scipy.signal", "core", "resampling, filters"),
    Package("soundfile", "import soundfile", "core", "wav and flac files"),
    Package("av", "import av", "core", "G.722 and other compressed recordings"),
    Package("pyyaml", "import yaml", "core", "configuration files"),
    Package("jsonargparse", "import jsonargparse", "core", "configuration on the command line"),
    Package("safetensors", "import safetensors.torch", "core", "weights"),
    Package("tqdm", "import tqdm", "core", "progress"),
    Package("tensorboard", "import torch.utils.tensorboard", "core", "training curves"),
    Package("pyloudnorm", "import pyloudnorm", "core", "loudness of the sources of a mixture"),
    Package("pesq", "import pesq", "metrics", "PESQ"),
    Package("pystoi", "import pystoi", "metrics", "STOI"),
    Package("jiwer", "import jiwer", "metrics", "word error rate"),
    Package("onnxruntime", "import onnxruntime", "metrics", "DNSMOS and other judges"),
    Package("pillow", "import PIL.Image", "metrics", "figures of the report"),
    Package("torchaudio", SHIM, "codecs", "WavLM, and needed by encodec, dac and espnet"),
    Package("encodec", SHIM + "import encodec", "codecs", "codec EnCodec"),
    Package("descript-audio-codec", SHIM + "import dac", "codecs", "codec DAC"),
    Package("transformers", SHIM + "import transformers", "alm", "language models of SepALM"),
    Package("peft", SHIM + "import peft", "alm", "LoRA"),
    Package("sentencepiece", "import sentencepiece", "alm", "subwords"),
    Package("g2p_en", "import g2p_en; g2p_en.G2p()('a test')", "alm", "phones of English words (SpeechX)"),
    Package("speechbrain", SHIM + "import speechbrain", "separators", "SepFormer"),
    Package("asteroid-filterbanks", "import asteroid_filterbanks", "baselines", "filterbanks of the baselines"),
    Package("espnet", SHIM + "import espnet2.enh.separator.tcn_separator", "separators", "Conv-TasNet, DPRNN, BSRNN"),
    Package("ctranslate2", "import ctranslate2", "bench", "a decoder to compare ours with"),
    Package("thop", "import thop", "bench", "a second counter of multiplications"),
    Package("pytest", "import pytest", "dev", "tests"),
    Package("hypothesis", "import hypothesis", "dev", "property-based tests"),
    Package("ruff", "", "dev", "lint"),
    Package("kaldiio", "import kaldiio", "dev", "cross-check of our ark files; users' compressed arks"),
]


def how_to_get(package: Package) -> str:
    """The command that installs a package."""
    if package.extra == "core":
        return "tools/setup_venv.sh"
    full = package.name in ("espnet", "g2p_en")
    return "tools/setup_venv.sh --full" if full else f"tools/setup_venv.sh --extras {package.extra}"


def state(package: Package) -> tuple[str, str]:
    """(version or "missing" or "broken", the last line of the error or ""): what is here of a package."""
    try:
        found = version(package.name)
    except PackageNotFoundError:
        return "missing", ""
    if not package.test:
        return found, ""
    try:
        test = subprocess.run(
            [sys.executable, "-c", package.test], cwd=ROOT, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        return "broken", f"{found}: the import took more than {SECONDS} s"
    if test.returncode == 0:
        return found, ""
    last = (test.stderr.strip().splitlines() or ["no message"])[-1]
    return "broken", f"{found}: {last}"


def main() -> int:
    with ThreadPoolExecutor(max_workers=2) as pool:
        states = list(pool.map(state, PACKAGES))
    print(f"python {sys.version.split()[0]}, {sys.executable}")
    print(f"{'package':22}{'version':14}{'extra':11}what it is for")
    core_is_broken = False
    for package, (found, error) in zip(PACKAGES, states, strict=True):
        row = f"{package.name:22}{found:14}{package.extra:11}{package.purpose}"
        if found in ("missing", "broken"):
            row += f"   [{error + '; ' if error else ''}{how_to_get(package)}]"
            core_is_broken |= package.extra == "core"
        print(row)
    print("the core is broken: run tools/setup_venv.sh --force true" if core_is_broken else "the core is complete")
    return int(core_is_broken)


if __name__ == "__main__":
    sys.exit(main())
