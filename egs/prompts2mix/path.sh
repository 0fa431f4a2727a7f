# shellcheck shell=bash
# Sourced by the recipes of this corpus: the repository's virtual environment, Python path, tools, sorting by bytes.
ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
if [[ ${ROOT} == *:* ]]; then
    echo "path.sh: ${ROOT} holds a ':', which PATH and PYTHONPATH cannot carry; move the repository" >&2
    return 1
fi
if [[ -x ${ROOT}/.venv/bin/python ]]; then export PATH=${ROOT}/.venv/bin:${PATH}; fi
export PATH=${ROOT}/utils:${PATH}
export PYTHONPATH=${ROOT}${PYTHONPATH:+:${PYTHONPATH}}
export PYTHONIOENCODING=UTF-8 PYTHONUNBUFFERED=1
export LC_ALL=C.UTF-8   # sorts by bytes, reads UTF-8
