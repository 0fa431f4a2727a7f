"""Every hostile fixture names a canary: a file that exists only when something in the fixture was run."""

import pickle

import pytest
from bombs import Bomb


@pytest.fixture
def canary(tmp_path):
    """The path of the canary; after the test it must not be there, and nothing may lie outside the test's folder."""
    path = tmp_path / "outside" / "canary"
    path.parent.mkdir()
    yield path
    assert not path.exists(), "something in a data file was run"
    assert list(path.parent.iterdir()) == []


@pytest.fixture
def bomb(canary):
    """Bytes of a pickle that makes the canary when it is loaded; that it would is tried first."""
    content = pickle.dumps(Bomb(canary), protocol=2)
    pickle.loads(content)
    assert canary.exists(), "the fixture itself is no threat"
    canary.unlink()
    return content
