# shellcheck shell=bash disable=SC2154  # stage, stop_stage and dry_run are set by the recipe
# Sourced by a recipe. A few verbs; none of them knows what a stage does.

shopt -s inherit_errexit   # a failure inside $(...) ends the script, as everywhere under `set -e`
_stage_command=$(printf '%q ' "${0##*/}" "$@")   # before the options are parsed away
_stage_command=${_stage_command% }
export RECIPE_PID=$$                             # run.pl stops its jobs when this process is gone

# log TEXT: one line with the time, the script and the line of the script that is at work.
log() { echo "$(date '+%Y-%m-%dT%H:%M:%S') (${0##*/}:${BASH_LINENO[${#BASH_LINENO[@]} - 2]}:main) $*" >&2; }

# die WHAT [FIX [CODE]]: one line that says what is wrong and what to do; status 1.
die() {
    printf '%s: %s %s (fix: %s)\n' "${0##*/}" "${3:-E144}" "${1//[[:cntrl:]]/ }" "${2:-${0##*/} --help says more}" >&2
    exit 1
}

# print_args: the command as it was given, so that a log tells what was run.
print_args() { log "${_stage_command}"; }

# no_arguments "$@": words that parse_options.sh left over are a mistake.
no_arguments() { [[ $# -eq 0 ]] || die "unexpected argument '$1'" "options are --name value; ${0##*/} --help lists them"; }

# check_stages 0 7: a number outside the recipe is a mistake, not "nothing to do".
check_stages() {
    local number
    for number in "${stage}" "${stop_stage}"; do
        [[ ${number} =~ ^(0|[1-9][0-9]?)$ ]] || die "--stage and --stop-stage take a number from $1 to $2, got '${number}'"
    done
    (( stage >= $1 && stop_stage <= $2 && stage <= stop_stage )) \
        || die "stages run from $1 to $2 and --stage must not exceed --stop-stage, got ${stage}..${stop_stage}"
}

# if at 3 "build sequences"; then ...; fi: true when the stage was asked for; with --dry_run true it only says so.
at() {
    (( stage <= $1 && $1 <= stop_stage )) || return 1
    if [[ ${dry_run:-false} == true ]]; then echo "stage $1: $2"; return 1; fi
    log "stage $1: $2"
}

# need 3 dump/train/seq.scp ...: stop early, naming the stage that makes it.
need() {
    local made_by=$1 file
    shift
    for file; do [[ -s ${file} ]] || die "${file}: is missing or empty" "run --stage ${made_by} first" E120; done
}

# number FLOOR VALUE --name: the value must be a whole number of at least FLOOR.
number() {
    if ! [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ ]] || (( $2 < $1 )); then die "$3 takes a whole number >= $1, got '$2'"; fi
}

# finished: the last line of a recipe.
finished() {
    if [[ ${dry_run:-false} == false ]]; then log "Successfully finished. [elapsed=${SECONDS}s]"; fi
}
