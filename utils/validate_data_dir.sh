#!/usr/bin/env bash
# Check a data directory: files, keys, order, audio. usage: utils/validate_data_dir.sh [options] data/<set>
set -euo pipefail
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}} exec "${python:-python3}" -m codecsep.bin.validate_data "$@"
