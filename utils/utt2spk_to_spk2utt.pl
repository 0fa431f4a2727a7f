#!/usr/bin/env python3
"""Utterances of each speaker, from the speaker of each utterance: docs/verbs.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from codecsep.bin.list_verbs import utt2spk_to_spk2utt  # noqa: E402

sys.exit(utt2spk_to_spk2utt(sys.argv[1:]))
