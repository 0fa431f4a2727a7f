"""The four voices of prompts2mix: where their recordings come from and what is left out."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

VERSION = "1.6.1-1_all"
RATE = 16000  # Hz, G.722
SETS = ("train", "dev", "test")


@dataclass(frozen=True)
class Voice:
    """One person. Folder: below usr/share/asterisk/sounds."""

    speaker: str
    language: str
    sex: str
    folder: str


VOICES = (
    Voice("en_allison", "en", "f", "en_US_f_Allison"),
    Voice("fr_june", "fr", "f", "fr_CA_f_June"),
    Voice("it_carlo", "it", "m", "it_IT_m_Carlo"),
    Voice("ru_ivrvoice", "ru", "f", "ru_RU_f_IvrvoiceRU"),
)

SHA256 = {
    "asterisk-core-sounds-en-g722": "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
    "asterisk-core-sounds-en": "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
    "asterisk-core-sounds-fr-g722": "7add61d5e42279ecff1bbdf842a5a946ac3644fac9a0fe44384731aa7270c8e0",
    "asterisk-core-sounds-fr": "04c82c78c570c43a7136cbc5e2488d0c470b775468dff9fbce4a131b18cf1056",
    "asterisk-core-sounds-it-g722": "46b4cf7afc508a5fcfc051b7ea233251c0d195dd4ef83cc4b7facb4c6429b016",
    "asterisk-core-sounds-it": "3884d9457e12f21caa018c18f0d587df5d53ebea14b673d8453a134c5941ab3b",
    "asterisk-core-sounds-ru-g722": "673b4238a6b8269960f055d868c6a11083f7a0d00979167cb01554046b48ed9b",
    "asterisk-core-sounds-ru": "28a61616bb0cd3345a7ea532dec4df9f071e5d0fa9f8c1a563ea9669002f39ab",
}

# Names of prompts that are (or hold) tones, silence or noise rather than speech alone, in every language.
NON_SPEECH = re.compile(
    r"silence/.*|.*beep.*|(ascending|descending)-2tone|confbridge-(join|leave)|tt-monkeys|vm-intro|.*(-loop|-music)"
)

# The Italian list lost its accents in some lines ("La conferenza ? piena").
LOST_ACCENTS = (
    ("sar?", "sarà"),
    ("cos?", "così"),
    ("pi?", "più"),
    ("pu?", "può"),
    ("quant?", "quantità"),
    (" ? ", " è "),
)


def clean_transcript(text: str, language: str) -> str:
    """A line of the official list without its notes: "IAX (note: ...)" -> "IAX"; "" when nothing is said.

    A symbol in brackets repeats the word before it ("dot [.]") and goes; so do asides in (...) and <...>.
    """
    text = re.sub(r"\([^)]*\)|<[^>]*>|\[\W*\]", " ", text)
    if language == "it":
        for lost, restored in LOST_ACCENTS:
            text = text.replace(lost, restored)
    return " ".join(text.split())


def sentence_key(text: str) -> str:
    """What makes two prompts the same sentence: letters and digits in lower case, the rest a single space."""
    return " ".join(re.sub(r"[\W_]+", " ", text.lower()).split())


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
