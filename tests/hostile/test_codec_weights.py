"""X2 for codecs: files that hold code, given to every loader of stage 1, as a file and inside a release's directory."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from bombs import ALL_MAKERS

from codecsep import config as configs
from codecsep.bin import get_codec, train_kmeans
from codecsep.codecs import base, units, wavlm
from codecsep.data import audio, datadir
from codecsep.data.ark import read_codec_info, write_codec_info
from codecsep.data.digest import file_sha256
from codecsep.errors import CodecsepError
from codecsep.weight_file import WeightFileError

sys.path.append(str(Path(__file__).resolve().parents[1] / "codecs"))
from toy_codecs import TOYS, install, official  # noqa: E402

CONVERTED = sorted(set(TOYS) - {"mini"})
REFUSED = r"codecsep-\S+: E70[23] \S+: .+ \(fix: .+\)\n$"
FILES = ["weights.pt", "weights.th", "weights.safetensors"]
RELEASES = {  # what is looked for in a directory
    "focalcodec": ["model.pt", "model.safetensors"],
    "units of hubert": ["pytorch_model.bin", "model.safetensors"],
}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(params=["", pytest.param("1", marks=pytest.mark.long)], ids=["default", "unsafe"])
def environment(request, monkeypatch):
    """As it is, and where torch is told to unpickle anything (test_weights.py has that for every kind of file)."""
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", request.param)


@pytest.fixture
def sources(tmp_path):
    audio.write_audio(tmp_path / "a.wav", [0.1, -0.1] * 4000, 16000)
    datadir.write_table(tmp_path / "data" / "wav.scp", {"a": tmp_path / "a.wav"})
    return ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]


def refused(main, words, sources, capsys):
    """Did the command end with one line, and without a result?"""
    assert main([*words, *sources]) == 2
    told = capsys.readouterr().err.splitlines(keepends=True)[-1]
    assert re.match(REFUSED, told), told
    assert not Path(sources[-1]).exists()


@pytest.mark.parametrize("name", [*CONVERTED, "units of hubert"])
def test_official_weights(tmp_path, canary, sources, environment, name, capsys):
    codec, *kind = name.split(" of ")
    _, sizes, _ = official(codec, tmp_path)
    sizes = units.Config("hubert_base", 1) if kind else sizes
    (tmp_path / "sizes.yaml").write_text(configs.dump(sizes))
    words = ["--codec", codec, "--config", str(tmp_path / "sizes.yaml")]
    if codec in ("melrvq", "units"):
        words += ["--centres", str(tmp_path / "none")]
    (tmp_path / "release").mkdir()
    for make in ALL_MAKERS:
        for place in [*FILES, *(f"release/{file}" for file in RELEASES.get(name, ()))]:
            make(tmp_path / place, canary)
            given = tmp_path / ("release" if place.startswith("release/") else place)
            refused(get_codec.main, [*words, "--weights", str(given)], sources, capsys)
            (tmp_path / place).unlink()


def test_fitting_and_centres(tmp_path, canary, sources, environment, capsys):
    _, sizes, weights = official("units", tmp_path)
    (tmp_path / "sizes.yaml").write_text(configs.dump(sizes))
    words = ["--codec", "units", "--config", str(tmp_path / "sizes.yaml")]
    for make in ALL_MAKERS:
        for name in ("evil.npy", "evil.bin", "evil.safetensors"):
            evil = tmp_path / name
            make(evil, canary)
            refused(train_kmeans.main, [*words, "--weights", str(evil)], sources, capsys)
            refused(get_codec.main, [*words, "--weights", str(weights), "--centres", str(evil)], sources, capsys)


@pytest.mark.parametrize("name", sorted(TOYS))
def test_a_codec_directory_of_others(tmp_path, canary, environment, name):
    """Its hash may be right: whoever made the file made codec.json."""
    install(name, tmp_path)
    weights = tmp_path / f"{name}.safetensors"
    for make in ALL_MAKERS:
        make(weights, canary)
        write_codec_info(tmp_path, replace(read_codec_info(tmp_path), fingerprint=file_sha256(weights)))
        with pytest.raises(WeightFileError, match="^E703 "):
            base.load(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_a_transformers_directory_of_others(tmp_path, canary, environment, name):
    (tmp_path / "config.json").write_text('{"auto_map": {"AutoModel": "evil.Model"}, "model_type": "wavlm"}')
    (tmp_path / "evil.py").write_text(f"import subprocess; subprocess.call(['touch', {str(canary)!r}])")
    for make in ALL_MAKERS:
        make(tmp_path / name, canary)
        with pytest.raises(CodecsepError, match=r"^E70[23] "):
            wavlm.read_checkpoint(tmp_path, "base")
