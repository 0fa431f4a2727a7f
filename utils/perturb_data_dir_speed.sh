#!/usr/bin/env bash
# Make a data directory of the same speech at another speed; --help and docs/verbs.md say how.
set -euo pipefail
root=$(dirname -- "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")")
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec "${python:-python3}" -m codecsep.bin.data_verbs perturb_data_dir_speed.sh "$@"
