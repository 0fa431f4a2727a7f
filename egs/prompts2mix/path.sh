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
# glibc gives every large block back to the kernel when it is freed and asks for it again in the next layer of a network:
# with convolutions on a CPU up to half of the time is spent on that. Above these sizes, in bytes, it keeps them instead.
# A process then holds what it used at its peak until it ends; the peak itself is the same.
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-8589934592} MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-8589934592}
