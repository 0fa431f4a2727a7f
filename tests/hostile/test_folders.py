"""Folders that somebody else made: codec directories, dumps, manifests and experiments whose text leads elsewhere."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from codecsep.codecs import base
from codecsep.data import manifest
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.data.datadir import write_table
from codecsep.data.examples import open_codes
from codecsep.errors import CodecsepError
from codecsep.train import checkpoint
from codecsep.train.datasets import make_sets
from codecsep.train.settings import PathsConfig, TrainConfig

ROOT = Path(__file__).resolve().parents[2]
INFO = CodecInfo("mini", "ab" * 32, 16000, 50.0, 320, 8, 512)


@pytest.mark.parametrize(
    "name", ["../../outside/evil", "/etc/passwd", "os", "mini; touch x", "base", "wavlm", "a" * 100]
)
def test_a_codec_is_a_file_of_ours(tmp_path, canary, monkeypatch, name):
    (tmp_path / "evil.py").write_text(f"open({str(canary)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    text = json.dumps({**INFO.__dict__, "name": name})
    (tmp_path / "codec.json").write_text(text)
    with pytest.raises(CodecsepError, match="^E3(08|50|52) ") as caught:
        base.load(tmp_path)
    assert str(caught.value).isprintable()


def test_weights_that_are_not_those_of_codec_json(tmp_path, bomb):
    write_codec_info(tmp_path, INFO)
    (tmp_path / "mini.safetensors").write_bytes(bomb)
    with pytest.raises(CodecsepError, match="^E351 .*SHA-256"):
        base.load(tmp_path)


def test_training_and_validation_codes_of_different_codecs(tmp_path):
    """A4: the same sizes, other weights: only codec.json can tell."""
    settings = TrainConfig(model="slm_ss")
    settings.paths = PathsConfig("data/a", str(tmp_path / "a"), "data/b", str(tmp_path / "b"))
    write_codec_info(tmp_path / "a", INFO)
    write_codec_info(tmp_path / "b", replace(INFO, fingerprint="cd" * 32))
    with pytest.raises(CodecsepError, match=r"^E303 .*b/codec\.json: was made by another codec .* fingerprint cdcd"):
        make_sets(None, settings)


JSONS = [
    "[" * 100_000,
    "{}",
    "[]",
    "null",
    '{"format": 1e999}',
    '{"format": 1, "outputs": []}',
    "\x00",
    '{"a": ' * 50_000,
]


@pytest.mark.parametrize("text", JSONS, ids=range(len(JSONS)))
def test_manifests_that_are_none(tmp_path, canary, text):
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / ".done").write_text("x\n")
    with pytest.raises(CodecsepError, match="^E12[0-9] "):
        manifest.require(tmp_path, "2")
    with pytest.raises(CodecsepError, match="^E122 "):
        manifest.read(tmp_path)


def test_a_dump_of_others_leads_to_no_command(tmp_path, canary):
    write_codec_info(tmp_path, INFO)
    (tmp_path / "codes.scp").write_text(f"a touch${{IFS}}{canary}|\n")
    (tmp_path / "codes.crc").write_text("a 00000000 100\n")
    with pytest.raises(CodecsepError, match="^E306 "):
        open_codes(tmp_path, "codes")
    (tmp_path / "seq.scp").write_text("a ../../../etc/passwd:5\n")
    (tmp_path / "seq.crc").write_text("a 00000000 100\n")
    (tmp_path / "token_list.txt").write_text("code_0\n")
    with pytest.raises(CodecsepError, match="^E30[1-6] "):
        open_codes(tmp_path, "seq")["a"]


def test_an_experiment_whose_configuration_is_code(tmp_path, canary):
    (tmp_path / "best.safetensors").write_bytes(bytes(16))
    for text in (
        f"model: !!python/object/apply:os.system ['touch {canary}']\n",
        "model: ../../evil\n",
        "model: [os]\n",
    ):
        (tmp_path / "config.yaml").write_text(text)
        with pytest.raises(CodecsepError, match="^E(704|80[0-9]) "):
            checkpoint.load_network(tmp_path)


def test_a_data_directory_of_commands_through_the_command_line(tmp_path, canary):
    """The verb that every recipe begins with: status 1 or 2, one line each, nothing is run."""
    data = tmp_path / "data"
    rows = {"wav.scp": f"touch {canary} |", "utt2spk": "s", "text": "$(touch x)", "utt2num_samples": "10"}
    for name, value in rows.items():
        write_table(data / name, {"a": value})
    write_table(data / "spk2utt", {"s": "a"})
    command = [sys.executable, "-m", "codecsep.bin.validate_data", str(data)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert result.returncode in (1, 2) and "Traceback" not in result.stderr
    assert re.search(r"E(110|701) .*command", result.stderr), result.stderr


def test_links_in_a_data_directory_write_nowhere_else(tmp_path, canary):
    """A table that is a link to somewhere is replaced by a file; what it pointed to stays as it is."""
    target = tmp_path / "precious"
    target.write_text("kept")
    (tmp_path / "wav.scp").symlink_to(target)
    write_table(tmp_path / "wav.scp", {"a": "a.wav"})
    assert target.read_text() == "kept" and not (tmp_path / "wav.scp").is_symlink()
