#!/usr/bin/env python3
"""The speaker of each utterance, from the utterances of each speaker: docs/verbs.md."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from codecsep.bin.list_verbs import spk2utt_to_utt2spk  # noqa: E402

sys.exit(spk2utt_to_utt2spk(sys.argv[1:]))
