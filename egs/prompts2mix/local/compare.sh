#!/usr/bin/env bash
# All systems of this corpus in one table: what the recipes beside this directory have decoded (their stage 6), scored together.
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
. "${HERE}/../path.sh"
. "${HERE}/../../../utils/stage.sh"

recipes=              # which, e.g. "slm_ss convtasnet" (empty: all that have decoded something)
systems=              # which of their systems, e.g. "slm_ss convtasnet" (empty: all)
set="test"            # which of their sets
out=exp/compare       # where the table goes
nj=2                  # processes of the scorer
score_args="--max_asr 24 --max_dnsmos 6"   # passed on to the scorer: how many mixtures the slow judges hear
report_args="--examples 4"                 # passed on to the report: how many mixtures can be heard on the page
python=python3

# shellcheck disable=SC2034  # parse_options.sh shows it
help_message="usage: local/compare.sh [--option value ...]
  */exp/decode/*/<set>  ->  <out>/{RESULTS.md,index.html}
  Recipes must have made the same mixtures: the audio of their sets is compared, and others are refused.
options, with what they are now:
$(sed -n '/^recipes=/,/^python=/s/^/  --/p' "${BASH_SOURCE[0]}")"
. "${HERE}/../../../utils/parse_options.sh"
no_arguments "$@"
number 1 "${nj}" --nj
print_args
cd -- "${HERE}/.."

read -ra chosen <<< "${recipes}"
if [[ ${#chosen[@]} -eq 0 ]]; then
    for decoded in */exp/decode; do
        if [[ -d ${decoded} ]]; then chosen+=("${decoded%%/*}"); fi
    done
fi
[[ ${#chosen[@]} -gt 0 ]] || die "no recipe beside this directory has decoded anything" "run --stage 6 of some" E541

# shellcheck disable=SC2086  # systems, score_args and report_args are lists of words
{
    run.pl "${out}/log/gather.log" \
        "${python}" -m codecsep.bin.gather --recipes "${chosen[@]}" --set "${set}" --systems ${systems} --out "${out}/inputs"
    mapfile -t arguments < "${out}/inputs/arguments"
    run.pl --num-threads "${nj}" "${out}/log/score.log" \
        "${python}" -m codecsep.bin.score "${arguments[@]}" --out "${out}" --nj "${nj}" ${score_args}
    run.pl "${out}/log/report.log" \
        "${python}" -m codecsep.bin.report --score "${out}" --out "${out}" --title "All systems of ${PWD##*/}" ${report_args}
}
cat "${out}/table.txt"
log "results: ${PWD}/${out}/RESULTS.md, listen: ${PWD}/${out}/index.html"
