"""X8: importing anything of codecsep, and asking any command for its help, speaks to no other machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted(
    "codecsep." + ".".join(path.relative_to(ROOT / "codecsep").with_suffix("").parts)
    for path in (ROOT / "codecsep").rglob("*.py")
    if path.stem != "__init__"
)
COMMANDS = [name for name in MODULES if name.startswith("codecsep.bin.")]
GUARD = """
import socket, sys
LOOPBACK = ("127.", "::1", "localhost")
def guarded(method):
    def call(self, address, *rest):
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            print(f"SOCKET {address}", file=sys.stderr)
            raise OSError("no network here")
        return method(self, address, *rest)
    return call
class Guarded(socket.socket):
    pass
for name in ("connect", "connect_ex", "sendto"):
    setattr(Guarded, name, guarded(getattr(socket.socket, name)))
socket.socket = Guarded
def resolve(host, *rest, **named):
    if host is not None and not str(host).startswith(LOOPBACK):
        print(f"SOCKET lookup of {host}", file=sys.stderr)
        raise OSError("no network here")
    return original(host, *rest, **named)
original, socket.getaddrinfo = socket.getaddrinfo, resolve
"""


def run(code: str, timeout: float = 240) -> subprocess.CompletedProcess:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", GUARD + code]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def test_the_guard_guards():
    for code in ("socket.create_connection(('192.0.2.1', 80), 1)", "socket.socket().connect(('192.0.2.1', 80))"):
        result = run(code)
        assert result.returncode == 1 and "SOCKET" in result.stderr
    assert "SOCKET" in run("import urllib.request; urllib.request.urlopen('http://example.org')").stderr


def test_no_import_opens_a_socket():
    result = run(
        "import importlib\nfor name in " + repr(MODULES) + ":\n    importlib.import_module(name)\nprint('done')"
    )
    assert result.stdout.strip() == "done" and "SOCKET" not in result.stderr, result.stderr[-2000:]


@pytest.mark.long
@pytest.mark.parametrize("module", COMMANDS)
def test_no_command_opens_a_socket_for_its_help(module):
    result = run(f"import runpy; sys.argv = ['x', '--help']; runpy.run_module({module!r}, run_name='__main__')")
    assert "SOCKET" not in result.stderr, result.stderr[-2000:]


def test_a_module_of_data_needs_no_torch_and_no_network():
    code = "import importlib\nfor name in " + repr([name for name in MODULES if ".data." in name])
    result = run(code + ":\n    importlib.import_module(name)\nprint('torch' in sys.modules)")
    assert result.stdout.strip() == "False" and "SOCKET" not in result.stderr, result.stderr[-2000:]
