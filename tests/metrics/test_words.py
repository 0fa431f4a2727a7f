"""The normaliser, error counts and corpus rates."""

import math

import pytest

from codecsep.metrics import words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Chapter 99, the Law.", "chapter ninety nine the law"),
        ("Mr. O’Neil's 21st try", "mister oneils twenty first try"),
        (
            "1,234,567 & 100%",
            "one million two hundred thirty four thousand five hundred sixty seven and one hundred percent",
        ),
        ("agent 007", "agent zero zero seven"),
        ("the 30th, 12th, 8th", "the thirtieth twelfth eighth"),
        ("0 20 10", "zero twenty ten"),
        ("  [.] -- ", ""),
        ("1234567890123", "one two three four five six seven eight nine zero one two three"),
    ],
)
def test_normalise(text, expected):
    assert words.normalise(text) == expected


def test_normalise_is_idempotent():
    once = words.normalise("It's 5 o'clock, Dr. Who!")
    assert words.normalise(once) == once == "its five oclock doctor who"


def test_error_counts_with_empty_sides():
    pytest.importorskip("jiwer", reason="counting word errors needs the package jiwer")
    assert words.errors("a b c", "a x c d") == (2, 3)
    assert words.errors("a b", "") == (2, 2)
    assert words.errors("", "you") == (1, 0)
    assert words.errors("", "") == (0, 0)


def test_rate_is_of_the_corpus_not_the_mean_of_utterances():
    assert words.rate([(1, 1), (0, 9)]) == pytest.approx(10.0)
    assert math.isnan(words.rate([])) and math.isnan(words.rate([(2, 0)]))
