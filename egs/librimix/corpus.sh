# shellcheck shell=bash disable=SC2034
# Sourced by the recipes of this corpus, before they read their options: the corpus's own options, and stage 0.

# corpus options
librispeech=../downloads/LibriSpeech      # holds train-clean-100, dev-clean, ...; with --metadata made: any folder of FLAC files
metadata=../downloads/LibriMix/metadata   # the official CSV files; made: lists drawn out of what is in librispeech
wham=../downloads/wham_noise              # holds tr, cv, tt; only read with --mixture both
corpus=../downloads                       # where the wavs are put; the recipes of this corpus share them
train_lists="train-clean-100"             # the lists that data/train is made of, e.g. "train-clean-100 train-clean-360"
num_spk=2                 # speakers in a mixture: 2 or 3
mixture=clean             # clean: speakers only; both: and noise (../local/data.sh also makes single: the first speaker and noise)
mode=min                  # min: mixtures end with the shortest source; max: with the longest
sample_rate=16000         # Hz of the mixtures: 8000 or 16000
train_set=train           # train: the mixtures of stage 0; train_sources: training mixes anew in every epoch (no noise)
seed=72                   # of the lists, with --metadata made
local_data_opts=          # passed on to ../local/data.sh, e.g. "--num_train 200 --max_seconds 8" with --metadata made
# end of corpus options

# check_corpus: mistakes in these options, before anything runs.
check_corpus() {
    number 2 "${num_spk}" --num_spk; number 0 "${seed}" --seed
    [[ ${mode} == min || ${mode} == max ]] || die "--mode is min or max, got '${mode}'"
    [[ ${mixture} == clean || ${mixture} == both ]] || die "--mixture is clean or both, got '${mixture}'" \
        "../local/data.sh also makes single, which has one speaker and is not for separators"
    [[ ${sample_rate} == 8000 || ${sample_rate} == 16000 ]] || die "--sample_rate is 8000 or 16000, got '${sample_rate}'"
    [[ ${train_set} == train || ${train_set} == train_sources ]] \
        || die "--train_set is train or train_sources, got '${train_set}'"
    [[ ${train_set} == train || ${mixture} == clean ]] \
        || die "--train_set train_sources mixes without noise, --mixture is ${mixture}" "give --train_set train"
    [[ -n ${train_lists// } ]] || die "--train_lists is empty" "name one list at least, e.g. train-clean-100"
}

# prepare_data: stage 0, data/{train,dev}_sources and data/{train,dev,test}.
prepare_data() {
    # shellcheck disable=SC2086,SC2154  # local_data_opts is a list of words; python and nj are the recipe's
    run.pl data/log/data.log \
        ../local/data.sh --librispeech "${librispeech}" --metadata "${metadata}" --wham "${wham}" --corpus "${corpus}" \
            --train_lists "${train_lists}" --num_spk "${num_spk}" --mixture "${mixture}" --mode "${mode}" \
            --sample_rate "${sample_rate}" --seed "${seed}" --nj "${nj}" --out data --python "${python}" ${local_data_opts}
    local text=(); [[ -e data/test/text_spk1 ]] || text=(--no-text)
    # LibriMix cuts to 16 bits where others round: up to 4 steps (of 3 speakers and noise) between a mixture and its sum
    run.pl data/log/validate.log \
        env "python=${python}" validate_data_dir.sh --tolerance 1.3e-4 ${text[@]+"${text[@]}"} data/train data/dev data/test
}
