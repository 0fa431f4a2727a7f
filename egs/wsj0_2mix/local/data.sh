#!/usr/bin/env bash
# Stage 0 of the recipes of wsj0_2mix: data directories that point to mixtures which are there.
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
. "${HERE}/../path.sh"
. "${HERE}/../../../utils/stage.sh"

wsj0_mix=../downloads/wsj0-mix   # holds 2speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2}
out=data              # data directories to make
num_spk=2             # speakers in a mixture
mode=min              # min: mixtures end with the shortest source; max: with the longest
sample_rate=8000      # Hz of the mixtures
nj=2                  # processes
python=python3
# shellcheck disable=SC2034  # parse_options.sh shows it
help_message="usage: ../local/data.sh [--option value ...]   (in a recipe directory)
$(sed -n '/^wsj0_mix=/,/^python=/s/^/  --/p' "${BASH_SOURCE[0]}")"
. "${HERE}/../../../utils/parse_options.sh"
no_arguments "$@"
number 1 "${nj}" --nj

"${python}" "${HERE}/prepare.py" --wsj0-mix "${wsj0_mix}" --out "${out}" --num-spk "${num_spk}" --mode "${mode}" \
    --sample-rate "${sample_rate}" --nj "${nj}"
