#!/usr/bin/env bash
# Look over the sources: ruff for Python, shellcheck (where it is installed) and bash -n for shell.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

mapfile -t shell < <(git ls-files '*.sh' '.ci/run')
ruff check . utils/*.pl
for file in "${shell[@]}"; do bash -n "${file}"; done
if command -v shellcheck > /dev/null; then
    shellcheck -x -P SCRIPTDIR "${shell[@]}"
else
    echo "lint.sh: shellcheck is not installed (apt-get install shellcheck); only the syntax of the shell files was checked"
fi
echo "lint.sh: ${#shell[@]} shell files and all Python files are in order"
