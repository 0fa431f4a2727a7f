"""index.html: one file with players, spectrograms and token strips in it; opens from file://, on a phone too."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import dataclass, field

import numpy as np
import soundfile

from codecsep.metrics import pictures, summary

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1100px; padding: 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; }
.wide { overflow-x: auto; width: max-content; min-width: 100%; max-width: calc(100vw - 2.5rem);
  position: relative; left: 50%; transform: translateX(-50%); } table { border-collapse: collapse; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .6rem; text-align: right; white-space: nowrap; }
thead th { background: var(--soft); white-space: normal; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; white-space: normal; min-width: clamp(8rem, 18vw, 15rem);
  position: sticky; left: 0; background: Canvas; }
thead th:first-child { background: linear-gradient(var(--soft), var(--soft)) Canvas; }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .6rem; min-width: 0; }
.card b { display: block; } .card small { display: block; min-height: 1.5em; opacity: .8; overflow-wrap: anywhere; }
audio { width: 100%; height: 36px; margin: .3rem 0; }
img { display: block; width: 100%; image-rendering: pixelated; border-radius: 3px; margin-top: .3rem; }
img.sound { height: 96px; } img.tokens { height: 24px; }
ul { padding-left: 1.2rem; } nav a { margin-right: .8rem; white-space: nowrap; }
"""

STRIPS = (
    "The strips under the spectrograms are the codec's level-0 tokens, one colour per token; the thin line is green "
    "where the token equals that of the source."
)


@dataclass
class Clip:
    """One card. codes: level-0 tokens [T]; reference_codes: those of the source, to show where they agree."""

    title: str
    samples: np.ndarray
    note: str = ""
    codes: np.ndarray | None = None
    reference_codes: np.ndarray | None = None


@dataclass
class Example:
    """One mixture with all that was made of it: rows of cards under headings."""

    name: str
    rows: list[tuple[str, list[Clip]]] = field(default_factory=list)


def build(title: str, result: dict, examples: list[Example], rate: int) -> str:
    """The whole page."""
    links = "".join(f'<a href="#e{i}">{html.escape(e.name)}</a> ' for i, e in enumerate(examples))
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p>{html.escape(_introduction(result, len(examples)))}</p>",
        "<h2>Scores</h2>" + _table(list(zip(*summary.grid(result), strict=True))),
        "<h2>Against the unprocessed mixture</h2>" + _list(summary.interval_lines(result)),
        f"<h2>Listen</h2><p>{STRIPS if result['codec'] else ''}</p><nav>{links}</nav>",
        *(_example(i, example, rate) for i, example in enumerate(examples)),
        "<h2>Read this with it</h2>" + _list(summary.remarks(result)),
    ]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def _introduction(result: dict, count: int) -> str:
    return (
        f"{result['num_utterances']} mixtures of {result['num_speakers']} speakers were scored; {count} of them, taken "
        "at even distances through the list (not chosen by ear), can be heard below. Sound is embedded without loss."
    )


def _table(rows: list) -> str:
    head = "".join(f"<th>{html.escape(cell).replace('_', '_<wbr>')}</th>" for cell in rows[0])
    lines = ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows[1:]]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _list(lines: list[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def _example(index: int, example: Example, rate: int) -> str:
    parts = [f'<h2 id="e{index}">{html.escape(example.name)}</h2>']
    for heading, clips in example.rows:
        cards = "".join(_card(clip, rate) for clip in clips)
        parts.append(f'<h3>{html.escape(heading)}</h3><div class="cards">{cards}</div>')
    return "\n".join(parts)


def _card(clip: Clip, rate: int) -> str:
    title = html.escape(clip.title)
    if clip.samples.size == 0:
        return f'<div class="card"><b>{title}</b><small>{html.escape(clip.note)}</small></div>'
    picture = _image(pictures.spectrogram(clip.samples, rate), "sound", f"spectrogram of {title}")
    if clip.codes is not None and len(clip.codes):
        strip = pictures.tokens(clip.codes, clip.reference_codes)
        picture += _image(strip, "tokens", f"level-0 tokens of {title}")
    sound = f'<audio controls preload="none" src="data:audio/flac;base64,{_base64(flac(clip.samples, rate))}"></audio>'
    return f'<div class="card"><b>{title}</b><small>{html.escape(clip.note)}</small>{sound}{picture}</div>'


def _image(png: bytes, kind: str, text: str) -> str:
    return f'<img class="{kind}" alt="{text}" src="data:image/png;base64,{_base64(png)}">'


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def flac(samples: np.ndarray, rate: int) -> bytes:
    """[L] as 16-bit FLAC, without loss; every current browser plays it."""
    stream = io.BytesIO()
    soundfile.write(stream, np.clip(samples, -1, 1), rate, format="FLAC", subtype="PCM_16")
    return stream.getvalue()
