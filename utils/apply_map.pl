#!/usr/bin/env python3
"""Replace words by what a table says: docs/verbs.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from codecsep.bin.list_verbs import apply_map  # noqa: E402

sys.exit(apply_map(sys.argv[1:]))
