"""What all tests share: the fuller fault tests are skipped, with a reason, unless they are asked for."""

import os

import pytest

# before torch is imported: the tests run in as many processes as there are cores, and small networks in several threads
# of several processes spend most of their time waiting for each other
os.environ.setdefault("OMP_NUM_THREADS", "1")

LONG = bool(os.environ.get("CODECSEP_LONG_TESTS"))


def pytest_configure(config):
    config.addinivalue_line("markers", "long: takes minutes; run by `make test-faults`")


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    for item in items:
        if LONG and ("trials" in item.fixturenames or "fuzz" in item.path.parts):  # they do more then
            item.add_marker("long")
        elif not LONG and item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes minutes; `make test-faults` runs it"))


@pytest.fixture
def trials():
    """trials(short, full): how often to repeat; `full` under `make test-faults`."""
    return lambda short, full: full if LONG else short
