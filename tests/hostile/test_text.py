"""X7 and text from recognisers: what stands in ids, transcripts and values is shown, never run."""

import html.parser
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from codecsep.errors import CodecsepError
from codecsep.metrics import page, summary, words

ROOT = Path(__file__).resolve().parents[2]
EVIL = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'><svg onload=alert(1)>",
    "</style><script>",
    "&lt;b&gt;",
]
TAGS = {
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "h1",
    "h2",
    "h3",
    "p",
    "nav",
    "a",
    "div",
    "table",
    "thead",
    "tbody",
}
TAGS |= {"tr", "th", "td", "ul", "li", "b", "small", "audio", "img"}


class Reader(html.parser.HTMLParser):
    """Collects tags and attributes that the page does not need, and all shown text."""

    def __init__(self):
        super().__init__()
        self.wrong, self.text = [], ""

    def handle_starttag(self, tag, attributes):
        names = [name for name, _ in attributes if name.startswith("on")]
        links = [
            value for name, value in attributes if name in ("href", "src") and not value.startswith(("#", "data:"))
        ]
        if tag not in TAGS or names or links:
            self.wrong.append((tag, names, links))

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("evil", EVIL)
def test_the_page_shows_text_and_runs_none(monkeypatch, evil):
    monkeypatch.setattr(summary, "grid", lambda result: [[evil, evil], [evil, evil]])
    monkeypatch.setattr(summary, "interval_lines", lambda result: [evil])
    monkeypatch.setattr(summary, "remarks", lambda result: [evil])
    clip = page.Clip(evil, np.zeros(800, np.float32), evil, np.arange(3), np.arange(3))
    example = page.Example(evil, [(evil, [clip, page.Clip(evil, np.zeros(0), evil)])])
    result = {"num_utterances": evil, "num_speakers": evil, "codec": evil}
    reader = Reader()
    reader.feed(page.build(evil, result, [example], 16000))
    assert reader.wrong == [] and reader.text.count(evil) >= 10


@pytest.mark.parametrize(
    "text", ["\x1b[2J\x1b]0;title\x07", "a\x00b", "a\u202eb", "a\nb\tc", "<b>a</b>", "9" * 5000, "٣" * 50, "²"]
)
def test_recognised_text_is_words_only(text):
    """What goes into scores.tsv and onto the page has letters, digits and single spaces."""
    found = words.normalise(text)
    assert found.isprintable() and found == " ".join(found.split())
    assert not set(found) & set("<>&\"'|;$`\\")


def test_errors_never_move_the_cursor():
    error = CodecsepError("E104", "id '\x1b[2J\r\x08\x9b' \u202e", "a\nb", "x\x1b]0;y\x07")
    assert str(error).isprintable() and "\x1b" not in str(error)


WORDS = [
    "$(touch {})",
    "`touch {}`",
    "; touch {}",
    "> {}",
    "| tee {}",
    "&& touch {}",
    "'; touch {}; '",
    '"; touch {}; "',
    "$HOME",
    "*",
    "a b",
    "",
]


@pytest.mark.parametrize("word", WORDS)
def test_run_pl_hands_words_on_as_they_are(tmp_path, canary, word):
    value = word.format(canary)
    code = "import sys; print(ascii(sys.argv[1]))"
    log = tmp_path / "a.log"
    command = [sys.executable, ROOT / "utils/run.pl", log, sys.executable, "-c", code, value]
    if value.strip() in ("|", "&&", ";"):
        pytest.skip("a bare operator is one, as in Kaldi")
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | {"HOME": "/nowhere"})
    assert result.returncode == 0, result.stderr + log.read_text()
    assert ascii(value) in log.read_text()


@pytest.mark.parametrize("word", [word for word in WORDS if word.strip()])
def test_options_of_a_recipe_are_taken_literally(tmp_path, canary, word):
    value = word.format(canary)
    script = f'set -euo pipefail\ntag=none\n. {ROOT}/utils/parse_options.sh\nprintf "%s" "${{tag}}"\n'
    (tmp_path / "run.sh").write_text(script)
    command = ["bash", tmp_path / "run.sh", "--tag", value]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert result.stdout == value and result.returncode == 0, result.stderr
