"""codecsep/torch_audio.py: a torchaudio whose compiled part does not load, one that does, and none."""

import importlib
import sys

import pytest

from codecsep import torch_audio

PACKAGE = {
    "__init__.py": "from torchaudio import _extension, functional\n",
    "_extension.py": "raise OSError('libc10_cuda.so: cannot open shared object file')\n",
    "functional.py": "from torchaudio._extension import fail_if_no_align\n\n"
    "@fail_if_no_align\ndef forced_align(x):\n    return x\n\ndef resample(x):\n    return x\n",
}


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Write a small package torchaudio and put it before any real one."""
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] == "torchaudio"}
    monkeypatch.syspath_prepend(tmp_path)

    def write(files):
        (tmp_path / "torchaudio").mkdir()
        for name, text in files.items():
            (tmp_path / "torchaudio" / name).write_text(text)
        importlib.invalidate_caches()

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        del sys.modules[name]
    sys.modules.update(kept)


def test_stub_beside_a_cpu_torch(install):
    install(PACKAGE)
    module = torch_audio.import_torchaudio()
    assert module.functional.resample(3) == 3
    with pytest.raises(torch_audio.PackageError, match="^E901 .*forced_align: needs torchaudio's compiled part"):
        module.functional.forced_align(3)
    assert torch_audio.import_torchaudio() is module


def test_untouched_where_it_loads(install):
    install(PACKAGE | {"_extension.py": "def fail_if_no_align(function):\n    return function\n"})
    assert torch_audio.import_torchaudio().functional.forced_align(3) == 3


def test_missing(monkeypatch):
    monkeypatch.setattr(torch_audio.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install -e .\.\[codecs\]"):
        torch_audio.import_torchaudio()
