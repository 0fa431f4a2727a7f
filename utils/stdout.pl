#!/usr/bin/env bash
# As run.pl, and the output goes to the terminal as well as to the log.
exec "$(dirname -- "${BASH_SOURCE[0]}")/run.pl" --to-terminal true "$@"
