#!/usr/bin/env bash
# The small codec of prompts2mix (16 kHz, 50 frames a second, 8 codebooks of 512): train it, export it, score it.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. ../../../utils/stage.sh
. ../path.sh     # the virtual environment, PYTHONPATH
. ../cmd.sh      # train_cmd, cuda_cmd, decode_cmd: how jobs are started
. ../corpus.sh   # options of the corpus, prepare_data

stage=0
stop_stage=7
nj=2                      # parallel jobs of stage 2
num_threads=2             # CPU threads of stage 1
ngpu=0                    # GPUs of stage 1; 0: CPU
data=data                 # where the data directories are (of another recipe of this corpus, when given)
conf=conf/mini.yaml       # the codec and its training
weights=exp/codec         # where the exported weights go; "--weights weights" replaces the committed ones
tag=                      # suffix of the experiment directories
train_args=               # passed on to the training, e.g. "--optim.lr 1e-4"
score_args=               # passed on to the scoring
dry_run=false             # true: only say which stages would run
python=python3

help_message="usage: ./run.sh [--stage N] [--stop-stage N] [--option value ...]
  0 data       recordings (../local)          -> data/{train,dev,test}_sources, data/{train,dev,test}
  1 codec      conf/mini.yaml                 -> exp/codec_train, exported to exp/codec
  2 tokenise   the test prompts               -> dump/test_sources/codes.{ark,scp}
  3 to 5       nothing to do for a codec
  6 decode     the same, encoded and decoded  -> exp/resynthesis/test/wav
  7 score      exp/codec on the test prompts  -> exp/score/test/RESULTS.md   (STOI, ESTOI, similarity, WER)
options of the corpus, with what they are now:
$(sed -n '/^# corpus options/,/^# end/{/^[a-z]/s/^/  --/p}' ../corpus.sh)
options of the recipe:
$(sed -n '/^stage=0/,/^python=/s/^/  --/p' "${0##*/}")"
. ../../../utils/parse_options.sh
no_arguments "$@"
check_stages 0 7
check_corpus
number 1 "${nj}" --nj
number 0 "${ngpu}" --ngpu
number 1 "${num_threads}" --num_threads
[[ -s ${conf} ]] || die "--conf ${conf} is not there"
print_args

(( ngpu > 0 )) || export CUDA_VISIBLE_DEVICES=   # --ngpu 0 means CPU, also where there is a GPU
launch=("${python}")
(( ngpu < 2 )) || launch=("${python}" -m codecsep.bin.launch --nproc "${ngpu}")
suffix=${tag:+_${tag}}
trained=exp/codec_train${suffix} scored=exp/score${suffix}/test

if at 0 "data"; then
    if [[ ${data} == data ]]; then prepare_data; else log "taken from ${data}: nothing to do"; fi
fi

# The 6,500 steps take about an hour on one core.  The committed weights were made so.
# "--weights weights" makes them anew; then every codec directory made from the old ones is refused by
# its fingerprint: a trained system belongs to one codec.
if at 1 "train the codec and export its weights"; then
    need 0 "${data}/train_sources/wav.scp" "${data}/dev_sources/wav.scp"
    log "training ${trained}; to look on: tail -f ${trained}/log/train.log"
    # shellcheck disable=SC2086  # train_args is a list of words
    ${cuda_cmd} --gpu "${ngpu}" --num-threads "${num_threads}" "${trained}/log/train.log" \
        "${launch[@]}" -m codecsep.bin.train --config "${conf}" --out "${trained}" \
            --train "${data}/train_sources" --valid "${data}/dev_sources" ${train_args}
    run.pl exp/log/get_codec.log \
        "${python}" -m codecsep.bin.get_codec --from "${trained}" --data "${data}/dev_sources" --out "${weights}"
fi

if at 2 "tokenise the test prompts"; then
    need 0 "${data}/test_sources/wav.scp"
    need 1 "${weights}/codec.json"
    ${train_cmd} --num-threads 1 "JOB=1:${nj}" "dump/test_sources/log/tokenise.JOB.log" \
        "${python}" -m codecsep.bin.tokenise --codec "${weights}" --data "${data}/test_sources" --out dump/test_sources \
            --job "JOB/${nj}"
fi

for number in 3 4 5; do
    if at "${number}" "nothing to do for a codec"; then :; fi
done

if at 6 "decode: the test prompts once through the codec, to listen to"; then
    need 0 "${data}/test_sources/wav.scp"
    need 1 "${weights}/codec.json"
    ${decode_cmd} exp/resynthesis/through_codec.log \
        "${python}" -m codecsep.bin.through_codec --codec "${weights}" --in "${data}/test_sources" --out exp/resynthesis/test
    log "listen: ${PWD}/exp/resynthesis/test/wav"
fi

if at 7 "score and report"; then
    need 0 "${data}/test_sources/wav.scp"
    need 1 "${weights}/codec.json"
    run.pl "${scored}/log/fetch.log" "${python}" ../../../tools/fetch_weights.py || log "judges are missing, and their columns"
    # shellcheck disable=SC2086  # score_args is a list of words
    ${train_cmd} "${scored}/log/score.log" \
        "${python}" -m codecsep.bin.score_codec --data "${data}/test_sources" --codec "${weights}" --out "${scored}" \
            ${score_args}
    if [[ -s ${scored}/RESULTS.md ]]; then cat "${scored}/RESULTS.md"; fi
    log "results: ${PWD}/${scored}/RESULTS.md"
fi
finished
