#!/usr/bin/env bash
# Stage 0 of the recipes of prompts2mix: fetch the recordings, then local/prepare.py makes the data directories.
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
. "${HERE}/../path.sh"
. "${HERE}/../../../utils/stage.sh"

corpus=../downloads   # where the packages are, or what they unpack to; ../downloads: fetched when they are not there
out=data              # data directories to make
num_spk=2             # speakers in a mixture: 2, 3 or 4
mode=max              # max: zeros after the shorter sources; min: all cut to the shortest
max_offset=0          # s; above 0: speakers after the first start later (not in LibriMix)
seed=72               # of the mixtures
split_seed=72         # of the split into sets; the committed codec knows the training set of 72
num_train=120
num_dev=60
num_test=120
min_duration=1.0      # s; shorter prompts are left out
max_duration=8.0      # s; longer prompts are left out
max_prompts=          # a number: only so many prompts of each voice
wav=../downloads/wav  # decoded prompts, shared by the recipes of this corpus
python=python3
# shellcheck disable=SC2034  # parse_options.sh shows it
help_message="usage: ../local/data.sh [--option value ...]   (in a recipe directory)
$(sed -n '/^corpus=/,/^python=/s/^/  --/p' "${BASH_SOURCE[0]}")"
. "${HERE}/../../../utils/parse_options.sh"
no_arguments "$@"

# The packages that are missing in ${corpus}, by name; apt-get checks their signatures, prepare.py their SHA-256.
fetch() {
    local package missing=()
    for package in asterisk-core-sounds-{en,fr,it,ru}{,-g722}; do
        [[ -s ${corpus}/${package}_1.6.1-1_all.deb ]] || missing+=("${package}=1.6.1-1")
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    command -v apt-get > /dev/null || die "no apt-get here: put the packages ${missing[*]} of Debian into ${corpus}"
    mkdir -p "${corpus}"
    beside=$(mktemp -d "$(cd -- "${corpus}" && pwd)/.fetch.XXXXXX")
    trap 'rm -rf -- "${beside}"' EXIT
    log "fetching ${missing[*]}"
    download "${missing[@]}" || refresh_and_download "${missing[@]}" \
        || die "could not fetch the packages (see above); put them into ${corpus} by hand, or give --corpus DIR"
    mv -- "${beside}"/*.deb "${corpus}/"
}

download() { (cd -- "${beside}" && apt-get -q "${apt_options[@]}" download "$@"); }

# Lists of our own, so that it works without being root and leaves the system's lists as they are.
refresh_and_download() {
    mkdir -p "${beside}/lists/partial" "${beside}/cache/archives/partial"
    apt_options=(-o "Dir::State::lists=${beside}/lists" -o "Dir::Cache=${beside}/cache" -o APT::Sandbox::User=)
    apt-get -q "${apt_options[@]}" update && download "$@"
}

apt_options=(-o APT::Sandbox::User=)
prepare=("${python}" "${HERE}/prepare.py" --corpus "${corpus}" --wav "${wav}")
if [[ $(realpath -m -- "${corpus}") == "$(realpath -m -- "${HERE}/../downloads")" ]]; then
    "${prepare[@]}" --only-check-wav > /dev/null || fetch
fi
"${prepare[@]}" --out "${out}" --num-spk "${num_spk}" \
    --mode "${mode}" --max-offset "${max_offset}" --seed "${seed}" --split-seed "${split_seed}" \
    --num-train "${num_train}" --num-dev "${num_dev}" --num-test "${num_test}" \
    --min-duration "${min_duration}" --max-duration "${max_duration}" --max-prompts "${max_prompts}"
