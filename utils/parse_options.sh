# shellcheck shell=bash
# Sourced by a script: turns "--some-option value" (or --some-option=value) into some_option=value.
#
# * An option is a lower-case variable that the script has set before it sources this file; "-" in a name is "_".
#   An option given twice: the last one counts.
#   Variables that only come from the environment, arrays and help_message are not options.
# * A value is always the next word and is taken literally (never evaluated), so it may start with "-" or be empty.
# * Where the default is true or false, only true and false are accepted.
# * --config FILE reads "name=value" lines first, wherever it stands; the command line wins.
# * The first word that is not an option ends the options, and so does "--"; what is left stays in "$@".
# * Every mistake is one line on stderr and exit status 1. --help prints ${help_message} on stdout, status 0.
# * It runs under the caller's `set -euo pipefail` as well as without, and leaves none of its own names behind.

# _po_die WHAT [FIX]: one line, whatever the values in it are.
_po_die() {
    printf '%s: E144 %s (fix: %s)\n' "${0##*/}" "${1//[[:cntrl:]]/ }" "${2:-${0##*/} --help says more}" >&2
    exit 1
}

# _po_known NAME: may NAME be set from the command line?
_po_known() {
    [[ $1 =~ ^[a-z][a-z0-9_]*$ && $1 != help_message && -v $1 ]] || return 1
    local _po_ref="$1"
    local _po_flags=${!_po_ref@a}
    [[ ${_po_flags} != *[aAr]* ]] || return 1
    [[ ${_po_flags} != *x* ]] || grep -qs "^$1=" -- "${_po_script}"
}

# _po_nearest NAME: the known names that look most like NAME (at most three, all equally near).
_po_nearest() {
    local _po_name
    while read -r _po_name; do
        if _po_known "${_po_name}"; then echo "${_po_name}"; fi
    done < <(compgen -v) | awk -v want="$1" '
        function min(a, b) { return a < b ? a : b }
        function distance(a, b,    i, j, d) {
            for (i = 0; i <= length(a); i++) d[i, 0] = i
            for (j = 0; j <= length(b); j++) d[0, j] = j
            for (i = 1; i <= length(a); i++) for (j = 1; j <= length(b); j++)
                d[i, j] = min(min(d[i-1, j], d[i, j-1]) + 1, d[i-1, j-1] + (substr(a, i, 1) != substr(b, j, 1)))
            return d[length(a), length(b)]
        }
        { d = distance(want, $1); if (d <= 2 + length(want) / 4) print d, $1 }' \
        | LC_ALL=C sort -n | awk '
            NR == 1 { nearest = $1 }
            $1 == nearest && NR <= 3 { printf "%s--%s", (NR > 1 ? " or " : ""), $2 }'
}

# _po_set NAME VALUE WHERE: check the value and assign it; WHERE is what the message calls the option.
_po_set() {
    local _po_ref=$1 _po_near
    if ! _po_known "$1"; then
        _po_near=$(_po_nearest "$1")
        _po_die "invalid option $3${_po_near:+; did you mean ${_po_near}?}" "${0##*/} --help lists all"
    fi
    if [[ ${!_po_ref} == true || ${!_po_ref} == false ]] && [[ $2 != true && $2 != false ]]; then
        _po_die "option $3 takes true or false, got '$2'"
    fi
    [[ -n $2 || $1 != *cmd ]] || _po_die "empty argument to $3 option" "give a command such as run.pl"
    printf -v "$1" '%s' "$2"
}

# _po_read_config FILE: lines "name=value", value bare or in one pair of quotes, "#" starts a comment line.
_po_read_config() {
    local _po_line _po_number=0
    [[ -f $1 && -r $1 ]] || _po_die "the file of --config cannot be read: '$1'" "give a file that exists"
    while IFS= read -r _po_line || [[ -n ${_po_line} ]]; do
        _po_number=$((_po_number + 1))
        [[ ! ${_po_line} =~ ^[[:space:]]*(#.*)?$ ]] || continue
        [[ ${_po_line} =~ ^([a-zA-Z0-9_]+)=(.*)$ ]] || _po_die "$1, line ${_po_number} is not name=value: '${_po_line}'" "mend that line"
        local _po_key=${BASH_REMATCH[1]} _po_value=${BASH_REMATCH[2]}
        if [[ ${_po_value} =~ ^\"(.*)\"$ || ${_po_value} =~ ^\'(.*)\'$ ]]; then _po_value=${BASH_REMATCH[1]}; fi
        _po_set "${_po_key}" "${_po_value}" "${_po_key} ($1, line ${_po_number})"
    done < "$1"
}

# _po_configs ARGS...: read every --config file before the command line is looked at.
_po_configs() {
    while [[ $# -gt 0 && $1 == --?* ]]; do
        case $1 in
            --help) return ;;
            --config) [[ $# -ge 2 ]] || _po_die "option --config requires a value"; _po_read_config "$2"; shift 2 ;;
            --config=*) _po_read_config "${1#--config=}"; shift ;;
            --*=*) shift ;;
            *) [[ $# -ge 2 ]] || return 0; shift 2 ;;
        esac
    done
}

_po_script=${BASH_SOURCE[1]:-/dev/null}
[[ -r ${_po_script} ]] || _po_script=${_po_script##*/}   # a script that has gone to its own directory
_po_configs "$@"
while [[ $# -gt 0 ]]; do
    case $1 in
        -h|--help) printf '%s\n' "${help_message-No help found.}"; exit 0 ;;
        --) shift; break ;;
        --config) shift 2 ;;
        --config=*) shift ;;
        --*)
            _po_option=${1%%=*}
            _po_name=${_po_option#--}
            _po_name=${_po_name//-/_}
            [[ ${_po_name} =~ ^[A-Za-z][A-Za-z0-9_]*$ ]] || _po_die "invalid option name '${_po_option}'"
            if [[ $1 == *=* ]]; then
                _po_set "${_po_name}" "${1#*=}" "${_po_option}"
                shift
            else
                _po_known "${_po_name}" || _po_set "${_po_name}" "" "${_po_option}"   # a misspelt name comes first
                [[ $# -ge 2 ]] || _po_die "option ${_po_option} requires a value"
                _po_set "${_po_name}" "$2" "${_po_option}"
                shift 2
            fi ;;
        *) break ;;
    esac
done
unset -v _po_script _po_option _po_name
unset -f _po_die _po_known _po_nearest _po_set _po_read_config _po_configs
