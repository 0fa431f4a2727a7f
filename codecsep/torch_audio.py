"""torchaudio on any machine: with a CPU build of torch its compiled part cannot be loaded, and is not needed here.

The published Linux wheel of torchaudio is linked against CUDA's libraries. Beside a CPU torch, ``import torchaudio``
therefore fails in ``torchaudio._extension``. A stand-in for that one module lets all the rest work; only forced_align
and rnnt_loss are lost. With a CUDA build nothing is touched. Packages that import torchaudio themselves (encodec,
dac, espnet2.enh) are to be imported after ``import_torchaudio()``.
"""

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable
from types import ModuleType

from codecsep.errors import CodecsepError

EXTENSION = "torchaudio._extension"
INSTALL = 'pip install -e ".[codecs]" -c constraints.txt'


class PackageError(CodecsepError, ImportError):
    """An optional package that is not installed, or whose parts do not load."""


def import_torchaudio() -> ModuleType:
    """The module torchaudio, with a stand-in for its compiled part where that cannot be loaded.

    Raises:
        PackageError: torchaudio is not installed; the message says how to get it.
    """
    if importlib.util.find_spec("torchaudio") is None:
        raise PackageError("E901", "is not installed", "torchaudio", INSTALL)
    try:
        return importlib.import_module("torchaudio")
    except (OSError, ImportError):  # the compiled part did not load
        _forget("torchaudio")
    sys.modules[EXTENSION] = _extension_stub()
    return importlib.import_module("torchaudio")


def _forget(package: str) -> None:
    """Drop what a failed import left in sys.modules."""
    for name in [name for name in sys.modules if name == package or name.startswith(package + ".")]:
        del sys.modules[name]


def _extension_stub() -> ModuleType:
    """What torchaudio expects of its compiled part when there is none."""
    stub = ModuleType(EXTENSION)
    stub.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        _IS_RIR_AVAILABLE=False,
        _check_cuda_version=lambda: None,
        fail_if_no_align=_refuse,
        fail_if_no_rir=_refuse,
    )
    return stub


def _refuse(function: Callable) -> Callable:
    """Decorator of torchaudio's functions that are nothing but compiled code."""

    @functools.wraps(function)
    def refused(*args: object, **kwargs: object) -> None:
        what = "needs torchaudio's compiled part, which does not load beside this build of torch"
        raise PackageError("E901", what, f"torchaudio.{function.__name__}", "use a CUDA build of torch")

    return refused
