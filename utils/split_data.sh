#!/usr/bin/env bash
# Divide a data directory into N parts; --help and docs/verbs.md say how.
set -euo pipefail
root=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec "${python:-python3}" -m codecsep.bin.data_verbs split_data.sh "$@"
