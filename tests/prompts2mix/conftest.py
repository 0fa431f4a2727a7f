"""A small made-up corpus of the form of prompts2mix: four voices, G.722, official lists; and stage 0 on it."""

import gzip
import shutil
import sys

import pytest
from made_up_corpus import LOCAL, prepare, prompts_of, write_g722


@pytest.fixture(scope="module")
def local():
    """The modules of the corpus' local directory."""
    sys.path.insert(0, str(LOCAL))
    try:
        import decode_prompts
        import prepare
        import simulate
        import sources
        import voices

        yield {module.__name__: module for module in (decode_prompts, prepare, simulate, sources, voices)}
    finally:
        sys.path.remove(str(LOCAL))


@pytest.fixture(scope="module")
def tree(tmp_path_factory, local):
    """What the packages unpack to."""
    root = tmp_path_factory.mktemp("tree")
    for number, voice in enumerate(local["voices"].VOICES):
        prompts = prompts_of(voice.language, number)
        for index, (prompt, (seconds, _)) in enumerate(prompts.items()):
            folder = root / "usr/share/asterisk/sounds" / voice.folder
            write_g722(folder / f"{prompt}.g722", seconds, index + 5 * number)
        lines = ["\ufeff; Core Sounds", ""] + [f"{key}: {text}" for key, (_, text) in prompts.items() if text]
        listing = root / f"usr/share/doc/asterisk-core-sounds-{voice.language}/core-sounds-{voice.language}.txt.gz"
        listing.parent.mkdir(parents=True)
        listing.write_bytes(gzip.compress("\n".join(lines).encode()))
    return root


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, tree):
    """A recipe directory after stage 0."""
    path = tmp_path_factory.mktemp("corpus") / "system"
    path.mkdir()
    result = prepare(path, tree)
    assert result.returncode == 0, result.stderr
    (path / "printed").write_text(result.stdout)
    return path


@pytest.fixture
def inside(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    return recipe


@pytest.fixture
def done(recipe, tmp_path):
    """A copy of the recipe directory after stage 0, with its own decoded prompts."""
    shutil.copytree(recipe.parent, tmp_path / "corpus", symlinks=True)
    return tmp_path / "corpus" / "system"
