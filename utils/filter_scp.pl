#!/usr/bin/env python3
"""The lines of a list whose ids are in another list: docs/verbs.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from codecsep.bin.list_verbs import filter_scp  # noqa: E402

sys.exit(filter_scp(sys.argv[1:]))
