# shellcheck shell=bash disable=SC2034
# Sourced by the recipes of this corpus, before they read their options: the corpus's own options, and stage 0.

# corpus options
wsj0_mix=../downloads/wsj0-mix   # the mixtures as the usual scripts make them: 2speakers/wav8k/min/{tr,cv,tt}/{mix,s1,s2}
num_spk=2                 # speakers in a mixture: 2 or 3 (3speakers/...)
mode=min                  # min: mixtures end with the shortest source; max: with the longest
sample_rate=8000          # Hz of the mixtures: 8000 or 16000
train_set=train           # the mixtures of tr; there are no single sources to mix anew from
local_data_opts=          # passed on to ../local/data.sh
# end of corpus options

# check_corpus: mistakes in these options, before anything runs.
check_corpus() {
    number 2 "${num_spk}" --num_spk
    [[ ${mode} == min || ${mode} == max ]] || die "--mode is min or max, got '${mode}'"
    [[ ${sample_rate} == 8000 || ${sample_rate} == 16000 ]] || die "--sample_rate is 8000 or 16000, got '${sample_rate}'"
    [[ ${train_set} == train ]] || die "--train_set is train in this corpus, got '${train_set}'"
}

# prepare_data: stage 0, data/{train,dev,test}.
prepare_data() {
    # shellcheck disable=SC2086,SC2154  # local_data_opts is a list of words; python and nj are the recipe's
    run.pl data/log/data.log \
        ../local/data.sh --wsj0_mix "${wsj0_mix}" --num_spk "${num_spk}" --mode "${mode}" --sample_rate "${sample_rate}" \
            --nj "${nj}" --out data --python "${python}" ${local_data_opts}
    run.pl data/log/validate.log \
        env "python=${python}" validate_data_dir.sh --no-text data/train data/dev data/test
}
