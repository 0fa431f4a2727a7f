"""Stage 1: the codec's directory appears whole, is checked, and is made again when it is damaged or outdated."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_codec import flip, killed, snapshot

from codecsep.bin import get_codec
from codecsep.codecs import base
from codecsep.data import manifest
from codecsep.data.ark import read_codec_info
from codecsep.data.lock import locked

ROOT = Path(__file__).resolve().parents[2]
FILES = [".done", "codec.json", "config.yaml", "manifest.json", "mini.safetensors"]


@pytest.fixture
def out(tmp_path, capsys):
    """exp/codec with a copy of the committed codec."""
    assert get_codec.main(["--out", str(tmp_path / "exp/codec")]) == 0
    assert re.search(r"exp/codec made: mini, 8 x 512 at 50 Hz, delay 0 samples, SHA-256 ", capsys.readouterr().err)
    return tmp_path / "exp/codec"


def again(out, *words: str) -> int:
    return get_codec.main(["--out", str(out), *words])


def test_a_copy_is_whole_and_not_made_again(out, capsys):
    assert sorted(snapshot(out)) == FILES and manifest.require(out, "1")["counts"]["made"] == 1
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert again(out) == 0 and "is up to date: mini" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert again(out, "--force") == 0 and "made: mini" in capsys.readouterr().err


@pytest.mark.parametrize(
    "harm",
    [
        lambda out: flip(out / "mini.safetensors"),
        lambda out: flip(out / "config.yaml"),
        lambda out: (out / "codec.json").unlink(),
        lambda out: (out / ".done").unlink(),
        lambda out: shutil.rmtree(out),
    ],
)
def test_damage_is_repaired(out, harm):
    clean = snapshot(out)
    harm(out)
    assert again(out) == 0 and snapshot(out) == clean
    assert base.load(out).info.name == "mini"


@pytest.mark.parametrize(
    "point",
    ["codec.mid", "atomic.mid", "manifest.before_done", "manifest.after_done", "atomic.before_rename@4",
     "atomic.after_rename@4"],
)  # fmt: skip
def test_killed_and_run_again_gives_the_same_bytes(out, point):
    clean = snapshot(out)
    assert killed(lambda: again(out, "--force"), point)
    assert snapshot(out) == clean, "the old one or the new one"
    shutil.rmtree(out)
    assert killed(lambda: again(out), point)
    assert out.exists() == (point == "atomic.after_rename@4")
    assert again(out) == 0 and snapshot(out) == clean
    assert sorted(path.name for path in out.parent.iterdir()) == [".codec.lock", "codec"]


def test_another_codec_takes_its_place(out, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(get_codec.COMMITTED, other)
    info = json.loads((other / "codec.json").read_text())
    (other / "codec.json").write_text(json.dumps(info | {"delay_samples": 3}))
    assert again(out, "--from", str(other)) == 0 and read_codec_info(out).delay_samples == 3
    shutil.rmtree(other)
    manifest.require(out, "1")  # what was copied may go


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (lambda source: flip(source / "mini.safetensors"), "E351"),
        (lambda source: (source / "mini.safetensors").unlink(), "E350"),
        (lambda source: (source / "config.yaml").unlink(), "E350"),
        (lambda source: (source / "codec.json").unlink(), "E350"),
        (lambda source: (source / "codec.json").write_text("{"), "E308"),
    ],
)
def test_a_source_that_cannot_be_used_changes_nothing(out, tmp_path, harm, code, capsys):
    clean, source = snapshot(out), tmp_path / "source"
    shutil.copytree(get_codec.COMMITTED, source)
    harm(source)
    assert again(out, "--from", str(source), "--force") == 2
    assert re.match(rf"codecsep-get-codec: {code} .+ \(fix: .+\)\n$", capsys.readouterr().err)
    assert snapshot(out) == clean


def test_two_at_once(out, capsys):
    with locked(out.parent, ".codec.lock"):
        assert again(out) == 0, "what is up to date needs no lock"
        assert again(out, "--force") == 2
    assert f"E630 {out.parent}: is being written by process {os.getpid()}" in capsys.readouterr().err


def test_a_training_is_exported_with_its_delay_only(tmp_path, capsys):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "best.safetensors").write_bytes(b"x")
    assert again(tmp_path / "codec", "--from", str(tmp_path / "train")) == 2
    assert "E356 --data: " in capsys.readouterr().err and not (tmp_path / "codec").exists()


def test_shapes_that_are_not_those_of_the_configuration(out):
    text = (out / "config.yaml").read_text()
    (out / "config.yaml").write_text(text.replace("width: 256", "width: 128", 1))
    with pytest.raises(base.CodecError, match="^E350 .*mini.safetensors: does not fit config.yaml"):
        base.load(out)


def test_what_is_up_to_date_is_told_without_torch(out):
    code = (
        "import sys; from codecsep.bin import get_codec; status = get_codec.main(sys.argv[1:]); "
        "print('torch' in sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "--out", str(out)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (0, "False\n") and "up to date" in result.stderr
