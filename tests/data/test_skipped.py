"""skipped.tsv and how many may be skipped."""

from pathlib import Path

import pytest

from codecsep.data import skipped
from codecsep.data.audio import AudioError
from codecsep.data.skipped import Skipped, SkippedError


def row(key: str, reason: str = "why") -> Skipped:
    return Skipped(key, "2", "E202", reason)


def test_written_sorted_by_bytes_and_read_back(tmp_path):
    path = tmp_path / skipped.NAME
    rows = [row("b"), row("a_1"), row("A1", "a\treason\nof two lines"), row("ä")]
    skipped.write(path, rows)
    assert path.read_text().splitlines()[0] == "A1\t2\tE202\ta reason of two lines"
    assert [found.key for found in skipped.read(path)] == ["A1", "a_1", "b", "ä"]
    skipped.write(path, [])
    assert path.read_text() == "" and skipped.read(path) == []


def test_the_line_of_an_error():
    error = AudioError("E202", "cut short", "a.wav", "make it again")
    assert skipped.because("a", "2", error) == Skipped("a", "2", "E202", "a.wav: cut short")


def test_a_list_of_another_form(tmp_path):
    (tmp_path / "x").write_text("a\t2\tE202\twhy\na why\n")
    with pytest.raises(SkippedError, match=r"^E105 .*x:2: expected id, stage, code and reason"):
        skipped.read(tmp_path / "x")


@pytest.mark.parametrize(
    "name", ["test", "test_clean", "test-other", "eval92", "libri_test", "tt", "Test", "test_sources"]
)
def test_of_sets_that_are_scored_none_may_be_skipped(name):
    assert skipped.allowed_share(Path("data") / name) == 0


@pytest.mark.parametrize(
    "name", ["train", "dev", "train_sources", "latest", "contest1", "tr", "cv", "train-360", "testimony"]
)
def test_of_other_sets_one_percent(name):
    assert skipped.allowed_share(Path("test/data") / name) == 0.01


@pytest.mark.parametrize(
    ("given", "count", "allowed", "is_ok"),
    [(100, 1, 0.01, True), (100, 2, 0.01, False), (100, 0, 0.0, True), (100, 1, 0.0, False), (1, 1, 1.0, False),
     (0, 0, 1.0, False), (199, 2, 0.01, False), (200, 2, 0.01, True)],
)  # fmt: skip
def test_the_share(given, count, allowed, is_ok):
    rows = [row(f"u{number}") for number in range(count)]
    if is_ok:
        skipped.check_share(given, rows, allowed, Path("dump/skipped.tsv"), "mend it")
        return
    with pytest.raises(
        SkippedError, match=rf"^E123 dump/skipped.tsv: {count} of {given} utterances .*\(fix: mend it\)$"
    ):
        skipped.check_share(given, rows, allowed, Path("dump/skipped.tsv"), "mend it")
