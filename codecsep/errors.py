"""The one kind of error that is meant for the user, and the catalogue of its codes.

Every such error says a code, where it happened, what is wrong and what to do:

    E302 dump/train/codes.ark:1812 (utterance a-1): the record is damaged (fix: run --stage 2 again)

`docs/errors.md` is made from the catalogue by `tools/make_error_docs.py`; a test holds both to the source.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Code:
    """One kind of fault: a title of a few words, and what it means and how it usually comes about."""

    title: str
    meaning: str


class CodecsepError(Exception):
    """A fault that the user can mend. Subclasses group faults of one kind of thing, for `except`.

    Args:
        code: a key of `CODES`.
        what: what was found, and what is allowed; one line without a full stop at its end.
        where: file:line, utterance, option or directory that it was found in; may be empty.
        fix: what to do, with the stage to run.
    """

    def __init__(self, code: str, what: str, where: object = "", fix: str = ""):
        if code not in CODES:
            raise KeyError(f"{code} is not in codecsep.errors.CODES")
        self.code, self.what, self.where, self.fix = code, _line(what), _line(str(where)), _line(fix)
        place = f"{self.where}: " if self.where else ""
        super().__init__(f"{code} {place}{self.what} (fix: {self.fix})")

    def __reduce__(self):  # worker processes hand errors to their parent
        return type(self), (self.code, self.what, self.where, self.fix)


def _line(text: str) -> str:
    """One line without control characters: names in data must not move the cursor of a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in " ".join(text.split()))


# 1xx data directories and lists   2xx audio          3xx tokens and dump directories   4xx weights and checkpoints
# 5xx numbers, decoding, scoring   6xx processes, locks, clusters   7xx hostile input   8xx settings and command lines
CODES: dict[str, Code] = {
    "E120": Code("stage not done", "A stage was asked for whose input another stage has not finished, or is damaged."),
    "E121": Code("input changed", "A finished result was made from a file that has changed since."),
    "E122": Code("manifest unreadable", "A manifest.json is cut, edited, or of another version."),
    "E320": Code("disk full", "A file could not be written for want of space, quota, or a limit on file sizes."),
    "E630": Code("in use", "Another process writes into the same directory."),
}
