#!/usr/bin/env bash
# Sort the lists of a data directory and keep the utterances that all of them have; --help and docs/verbs.md say how.
set -euo pipefail
root=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec "${python:-python3}" -m codecsep.bin.data_verbs fix_data_dir.sh "$@"
