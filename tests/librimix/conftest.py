"""The modules of egs/librimix/local, and a made-up corpus."""

import importlib.util
import sys

import pytest
from made_up_librimix import LOCAL, make_corpus, stage0


@pytest.fixture(scope="session")
def librimix():
    """{name: module} of the corpus' local directory."""
    sys.path.insert(0, str(LOCAL))
    try:
        import build
        import directories
        import make_lists
        import mixture_lists
        import official
        import speech_tree

        yield {
            module.__name__: module for module in (build, directories, make_lists, mixture_lists, official, speech_tree)
        }
    finally:
        sys.path.remove(str(LOCAL))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Made-up LibriSpeech, wham_noise and metadata. Not to be changed."""
    return make_corpus(tmp_path_factory.mktemp("librimix corpus"))


@pytest.fixture(scope="session")
def prepared(corpus, tmp_path_factory):
    """A recipe directory after stage 0, with noise, at 8 kHz; its wavs are in ../downloads. Not to be changed."""
    recipe = tmp_path_factory.mktemp("a b") / "system"
    result = stage0(recipe, corpus, "--mixture", "both", "--sample_rate", "8000", "--mode", "max", "--nj", "2")
    assert result.returncode == 0, result.stderr
    return recipe


@pytest.fixture
def run(librimix, corpus, monkeypatch, capsys):
    """Runs local/prepare.py in this process, in a recipe directory; later options win: (status, stdout, stderr)."""
    spec = importlib.util.spec_from_file_location("librimix_prepare", LOCAL / "prepare.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def prepare(recipe, *options):
        recipe.mkdir(parents=True, exist_ok=True)
        monkeypatch.chdir(recipe)
        places = ["--librispeech", corpus / "LibriSpeech", "--wham", corpus / "wham_noise"]
        words = ["prepare.py", *places, "--metadata", corpus / "metadata", "--corpus", "../downloads", *options]
        monkeypatch.setattr(sys, "argv", [*map(str, words)])
        capsys.readouterr()
        try:
            status = module.main()
        except SystemExit as error:  # of the parser
            status = error.code
        return status, *capsys.readouterr()

    return prepare
