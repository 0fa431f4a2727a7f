#!/usr/bin/env bash
# Stage 0 of the recipes of librimix: local/make_lists.py draws lists when they are to be made, local/prepare.py makes the
# mixtures and the data directories.
set -euo pipefail
HERE=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
. "${HERE}/../path.sh"
. "${HERE}/../../../utils/stage.sh"

librispeech=../downloads/LibriSpeech      # holds train-clean-100, dev-clean, ...; with --metadata made: any folder of FLAC files
metadata=../downloads/LibriMix/metadata   # the official CSV files; made: lists drawn out of what is in librispeech
wham=../downloads/wham_noise              # holds tr, cv, tt; only read with --mixture both or single
corpus=../downloads   # where the wavs are put; the recipes of this corpus share them
out=data              # data directories to make
train_lists=train-clean-100   # the lists that data/train is made of
num_spk=2             # speakers in a mixture
mixture=clean         # clean: speakers only; both: and noise; single: the first speaker and noise
mode=min              # min: mixtures end with the shortest source; max: with the longest
sample_rate=16000     # Hz of the mixtures
nj=2                  # processes
seed=72               # of the lists; this and all below only with --metadata made
num_train=200         # mixtures
num_dev=40
num_test=60
min_seconds=3         # shorter utterances are left out
max_seconds=          # longer ones, too; empty: no bound
python=python3
# shellcheck disable=SC2034  # parse_options.sh shows it
help_message="usage: ../local/data.sh [--option value ...]   (in a recipe directory)
$(sed -n '/^librispeech=/,/^python=/s/^/  --/p' "${BASH_SOURCE[0]}")"
. "${HERE}/../../../utils/parse_options.sh"
no_arguments "$@"
number 1 "${nj}" --nj

noise=(); [[ ${mixture} == clean ]] || noise=(--wham "${wham}")
if [[ ${metadata} == made ]]; then
    corpus=${corpus}/made${noise:+_noisy} train_lists=train   # lists with noise have other gains
    metadata=${corpus}/metadata
    "${python}" "${HERE}/make_lists.py" --librispeech "${librispeech}" ${noise[@]+"${noise[@]}"} --lists "${metadata}" \
        --num-spk "${num_spk}" --num-train "${num_train}" --num-dev "${num_dev}" --num-test "${num_test}" \
        --min-seconds "${min_seconds}" --max-seconds "${max_seconds:-inf}" --seed "${seed}"
fi
read -ra lists <<< "${train_lists}"
"${python}" "${HERE}/prepare.py" --librispeech "${librispeech}" ${noise[@]+"${noise[@]}"} --metadata "${metadata}" \
    --corpus "${corpus}" --out "${out}" --train-lists "${lists[@]}" --num-spk "${num_spk}" --mixture "${mixture}" \
    --mode "${mode}" --sample-rate "${sample_rate}" --nj "${nj}"
