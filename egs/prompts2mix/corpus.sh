# shellcheck shell=bash disable=SC2034
# Sourced by the recipes of this corpus, before they read their options: the corpus's own options, and stage 0.

# corpus options
corpus=../downloads       # where stage 0 finds or puts the recordings
num_spk=2                 # speakers in a mixture: 2 or 3
mode=max                  # max: mixtures end with the longer source; min: with the shorter one
sample_rate=16000         # Hz of the mixtures; the prompts have 16000 and are not resampled
seed=72                   # of the mixtures that stage 0 makes
train_set=train_sources   # train_sources: training mixes anew in every epoch; train: the mixtures of stage 0
num_train=                # mixtures of stage 0 for training (empty: 120, and 1000 where train_set is train)
local_data_opts=          # passed on to ../local/data.sh, e.g. "--max_prompts 20 --num_test 10" for a quick look
# end of corpus options

# check_corpus: mistakes in these options, before anything runs.
check_corpus() {
    number 2 "${num_spk}" --num_spk; number 0 "${seed}" --seed; [[ -z ${num_train} ]] || number 1 "${num_train}" --num_train
    [[ ${mode} == min || ${mode} == max ]] || die "--mode is min or max, got '${mode}'"
    [[ ${sample_rate} == 16000 ]] || die "--sample_rate of this corpus is 16000, got '${sample_rate}'"
    [[ ${train_set} == train || ${train_set} == train_sources ]] \
        || die "--train_set is train or train_sources, got '${train_set}'"
}

# prepare_data: stage 0, data/{train,dev,test}_sources and data/{train,dev,test}.
prepare_data() {
    local mixtures=${num_train}
    [[ -n ${mixtures} ]] || { [[ ${train_set} == train ]] && mixtures=1000; } || mixtures=120
    # shellcheck disable=SC2086,SC2154  # local_data_opts is a list of words; python is the recipe's
    run.pl data/log/data.log \
        ../local/data.sh --corpus "${corpus}" --out data --num_spk "${num_spk}" --mode "${mode}" --seed "${seed}" \
            --num_train "${mixtures}" --python "${python}" ${local_data_opts}
    run.pl data/log/validate.log env "python=${python}" validate_data_dir.sh data/train data/dev data/test
}
