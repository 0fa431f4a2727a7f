#!/usr/bin/env python3
"""Divide a list into parts of equal length: docs/verbs.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from codecsep.bin.list_verbs import split_scp  # noqa: E402

sys.exit(split_scp(sys.argv[1:]))
