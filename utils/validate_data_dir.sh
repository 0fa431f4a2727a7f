#!/usr/bin/env bash
# Check data directories: lists, order, transcripts, audio; --help and docs/verbs.md say how.
set -euo pipefail
root=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec "${python:-python3}" -m codecsep.bin.validate_data "$@"
