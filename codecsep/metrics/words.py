"""Word error rates: against the transcript (WER) and against the judge's own reading of the clean source (dWER).

Texts are normalised by our own plain rules, named in every table: lower case; numbers spelled out; "mr." and the like
written out; apostrophes dropped; every other sign a space. Rates are of the whole corpus: errors over words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

NORMALISER = "own: lower case, numbers spelled, no punctuation"
ABBREVIATIONS = {"mr": "mister", "mrs": "missus", "dr": "doctor", "st": "saint"}
ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
TENS = "_ _ twenty thirty forty fifty sixty seventy eighty ninety".split()
SCALES = ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
ORDINALS = {
    **{"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"},
    "twelve": "twelfth",
}
LARGEST = 10**12  # longer digit strings are read digit by digit


def normalise(text: str) -> str:
    """English text as the scorer sees it, words separated by single spaces."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"(\d+)(st|nd|rd|th)\b", lambda m: f" {_ordinal(m[1])} ", text)
    text = re.sub(r"\d+", lambda m: f" {_spell(m[0])} ", text)
    text = re.sub(r"\b(mr|mrs|dr|st)\b\.?", lambda m: ABBREVIATIONS[m[1]], text)
    text = text.replace("%", " percent ").replace("&", " and ").replace("'", "")
    return " ".join(re.sub(r"[^\w\s]|_", " ", text).split())


def errors(reference: str, hypothesis: str) -> tuple[int, int]:
    """(substitutions + deletions + insertions, words of the reference) of two normalised texts; either may be empty."""
    import jiwer

    if not reference:
        return len(hypothesis.split()), 0
    counts = jiwer.process_words(reference, hypothesis)
    wrong = counts.substitutions + counts.deletions + counts.insertions
    return wrong, counts.hits + counts.substitutions + counts.deletions


def rate(pairs: Iterable[tuple[float, float]]) -> float:
    """Corpus-level rate in percent of (errors, words) pairs; nan when there are no words."""
    pairs = list(pairs)
    words = sum(pair[1] for pair in pairs)
    return 100.0 * sum(pair[0] for pair in pairs) / words if words else float("nan")


def _spell(digits: str) -> str:
    is_code = len(digits) > 1 and digits[0] == "0"
    if is_code or len(digits) > len(str(LARGEST)) or int(digits) >= LARGEST:
        return " ".join(ONES[int(d)] for d in digits)
    return _cardinal(int(digits))


def _cardinal(number: int) -> str:
    """123 -> "one hundred twenty three" (American, without "and")."""
    for size, name in SCALES:
        if number >= size:
            rest = f" {_cardinal(number % size)}" if number % size else ""
            return f"{_cardinal(number // size)} {name}{rest}"
    if number >= 20:
        return TENS[number // 10] + (f" {ONES[number % 10]}" if number % 10 else "")
    return ONES[number]


def _ordinal(digits: str) -> str:
    """21 -> "twenty first"."""
    *before, last = _spell(digits).split()
    ending = ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last + "th")
    return " ".join([*before, ending])
