"""The one kind of error that is meant for the user. Its codes stand in `error_codes.py`.

Every such error says a code, where it happened, what is wrong and what to do:

    E302 dump/train/codes.ark:1812 (utterance a-1): the record is damaged (fix: run --stage 2 again)

`docs/errors.md` is made from the catalogue by `tools/make_error_docs.py`; a test holds both to the source.
"""

from codecsep.error_codes import CODES


class CodecsepError(Exception):
    """A fault that the user can mend. Subclasses group faults of one kind of thing, for `except`.

    Args:
        code: a key of `error_codes.CODES`.
        what: what was found, and what is allowed; one line without a full stop at its end.
        where: file:line, utterance, option or directory that it was found in; may be empty.
        fix: what to do, with the stage to run.
    """

    def __init__(self, code: str, what: str, where: object = "", fix: str = ""):
        if code not in CODES:
            raise KeyError(f"{code} is not in codecsep.error_codes.CODES")
        self.code, self.what, self.where, self.fix = code, _line(what), _line(str(where)), _line(fix)
        place = f"{self.where}: " if self.where else ""
        super().__init__(f"{code} {place}{self.what} (fix: {self.fix})")

    def __reduce__(self):  # worker processes hand errors to their parent
        return type(self), (self.code, self.what, self.where, self.fix)


def _line(text: str) -> str:
    """One line without control characters: names in data must not move the cursor of a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in " ".join(text.split()))
