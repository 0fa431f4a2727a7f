#!/usr/bin/env bash
# Make the repository's virtual environment with plain pip. Safe to repeat: a stamp, written last, records what is in it.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
. utils/stage.sh

venv=.venv
extras=             # comma-separated extras of setup.py: metrics, dev, codecs, separators, alm, baselines, bench, all
python=python3
force=false         # true: install even when the stamp says that nothing is missing

help_message="usage: tools/setup_venv.sh [--extras metrics,dev] [--full] [--venv .venv] [--python python3] [--force true]
  no option        core: what training, decoding and the recipes import
  --extras LIST    core plus these extras of setup.py (metrics, dev, codecs, separators, alm, baselines, bench, all)
  --full           core, all extras, espnet (without its pins on Python < 3.12) and the NLTK data that g2p_en reads"

words=()
for word; do
    if [[ ${word} == --full ]]; then words+=(--extras "all,espnet"); else words+=("${word}"); fi
done
set -- ${words[@]+"${words[@]}"}
. utils/parse_options.sh
no_arguments "$@"
[[ ${extras} =~ ^[a-z,]*$ ]] || die "--extras takes names separated by commas, got '${extras}'"

stamp=${venv}/.codecsep-installed
read -ra wanted <<< "core ${extras//,/ }"

# One word that changes whenever an installation would give something else.
fingerprint() { cat setup.py constraints.txt tools/setup_venv.sh tools/make_nltk_data.py | cksum | tr -d ' '; }

# True when the stamp is of these very files and names every extra that is wanted.
installed() {
    local line extra
    [[ -s ${stamp} && -x ${venv}/bin/python ]] || return 1
    read -r line < "${stamp}" || return 1
    [[ " ${line}" == " $(fingerprint) "* ]] || return 1
    for extra in "${wanted[@]}"; do [[ "${line} " == *" ${extra} "* ]] || return 1; done
}

# A virtual environment whose python does not start (moved, or its creation was interrupted) is made anew.
make_venv() {
    if "${venv}/bin/python" -m pip --version > /dev/null 2>&1; then return; fi
    command -v "${python}" > /dev/null || die "${python} is not there; give --python /path/to/python3 (3.10 or newer)"
    "${python}" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
        || die "$("${python}" --version) is too old, 3.10 or newer is needed; give --python /path/to/python3"
    "${python}" -m venv --clear "${venv}" \
        || die "no virtual environment could be made in ${venv} (Debian and Ubuntu: apt-get install python3-venv)"
}

pip_install() { "${venv}/bin/python" -m pip install --progress-bar off "$@"; }

# espnet declares Python >= 3.12 and pins setuptools: on older Pythons it is added alone, after its needs (extra baselines),
# or, for its separators, after the few that these need (extra separators).
add_espnet() {
    "${venv}/bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 12))' || return 0
    pip_install --no-deps --ignore-requires-python "$@"
}

install_wanted() {
    local pip_extras line
    pip_extras=$(printf '%s\n' "${wanted[@]}" | grep -vx -e core -e espnet | paste -sd, -) || true
    pip_install -e ".${pip_extras:+[${pip_extras}]}" -c constraints.txt
    if [[ " ${wanted[*]} " == *" separators "* ]]; then add_espnet espnet==202611; fi
    if [[ " ${wanted[*]} " == *" espnet "* ]]; then
        add_espnet espnet==202611 espnet-model-zoo==0.1.7
        "${venv}/bin/python" tools/make_nltk_data.py "${venv}/nltk_data"   # nltk looks there by itself
    fi
    "${venv}/bin/python" -c 'import codecsep, numpy, scipy, soundfile, torch, yaml' || die "the core does not import; see above"
    line="$(fingerprint) ${wanted[*]}"
    if [[ " ${wanted[*]} " == *" all "* ]]; then line+=" metrics codecs separators alm baselines bench dev"; fi
    printf '%s\n' "${line}" > "${stamp}.tmp"
    mv -f "${stamp}.tmp" "${stamp}"
}

if installed && ! ${force}; then
    log "${venv} is up to date (${wanted[*]})"
    exit 0
fi
if [[ -s ${stamp} ]]; then   # keep what an earlier call installed, under the same rules
    read -ra before < "${stamp}"
    mapfile -t wanted < <(printf '%s\n' "${wanted[@]}" "${before[@]:1}" | LC_ALL=C sort -u)
fi
log "installing into ${venv}: ${wanted[*]}"
rm -f "${stamp}"
make_venv
install_wanted
log "${venv} is ready [elapsed=${SECONDS}s]"
