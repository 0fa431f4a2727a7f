#!/usr/bin/env bash
# Copy the lists of a data directory, with new ids; --help and docs/verbs.md say how.
set -euo pipefail
root=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec "${python:-python3}" -m codecsep.bin.data_verbs copy_data_dir.sh "$@"
