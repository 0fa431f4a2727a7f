"""Where the verbs are, and what their messages look like."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ERROR = re.compile(r"([\w.]+: )?(E\d{3}) .+ \(fix: .+\)")
