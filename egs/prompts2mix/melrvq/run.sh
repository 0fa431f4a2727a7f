#!/usr/bin/env bash
# A codec out of parts: residual k-means on log-mel (8 codebooks of 1024, 86 frames a second) and the universal HiFi-GAN.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. ../../../utils/stage.sh
. ../path.sh     # the virtual environment, PYTHONPATH
. ../cmd.sh      # train_cmd, cuda_cmd, decode_cmd: how jobs are started
. ../corpus.sh   # options of the corpus, prepare_data

stage=0
stop_stage=7
nj=2                      # parallel jobs of stage 2
num_threads=2             # CPU threads of the fit and of the scoring
ngpu=0                    # 1: mel frames are computed on a GPU; the fit itself needs none
data=data                 # where the data directories are (of another recipe of this corpus, when given)
generator=hifigan_universal.pt   # a name that tools/fetch_weights.py knows, or the path of HiFi-GAN's official file
codec=exp/codec           # where the codec goes; other recipes take it with "get_codec --from"
tag=                      # suffix of the experiment directories
sizes=                    # of the codec, where they are not 8 x 1024, e.g. "--codebook_size 256 --num_codebooks 4"
fit_args=                 # passed on to the fit, e.g. "--rounds 5"
score_args=               # passed on to the scoring
dry_run=false             # true: only say which stages would run
python=python3

help_message="usage: ./run.sh [--stage N] [--stop-stage N] [--option value ...]
  0 data       recordings (../local)          -> data/{train,dev,test}_sources, data/{train,dev,test}
  1 codec      fetch ${generator}, fit on data/train_sources -> exp/centres; both, delay measured -> ${codec}
  2 tokenise   the test prompts               -> dump/test_sources/codes.{ark,scp}
  3 to 5       nothing to do for a codec
  6 decode     the same, encoded and decoded  -> exp/resynthesis/test/wav
  7 score      ${codec} on the test prompts   -> exp/score/test/RESULTS.md   (STOI, ESTOI, similarity, WER)
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
print_args

(( ngpu > 0 )) || export CUDA_VISIBLE_DEVICES=   # --ngpu 0 means CPU, also where there is a GPU
device=cpu; (( ngpu == 0 )) || device=cuda
export OMP_NUM_THREADS=${num_threads}
suffix=${tag:+_${tag}}
centres=exp/centres${suffix} scored=exp/score${suffix}/test

if at 0 "data"; then
    if [[ ${data} == data ]]; then prepare_data; else log "taken from ${data}: nothing to do"; fi
fi

if at 1 "fetch the generator, fit the codebooks, put both into ${codec}"; then
    need 0 "${data}/train_sources/wav.scp" "${data}/dev_sources/wav.scp"
    if [[ ! -e ${generator} ]]; then
        run.pl exp/log/fetch.log "${python}" ../../../tools/fetch_weights.py --only "${generator}"
    fi
    # shellcheck disable=SC2086  # sizes and fit_args are lists of words
    ${cuda_cmd} --gpu "${ngpu}" --num-threads "${num_threads}" "${centres}/log/kmeans.log" \
        "${python}" -m codecsep.bin.train_kmeans --codec melrvq --weights "${generator}" --out "${centres}/kmeans" \
            --data "${data}/train_sources" --seed "${seed}" --device "${device}" ${sizes} ${fit_args}
    # shellcheck disable=SC2086
    run.pl exp/log/get_codec.log \
        "${python}" -m codecsep.bin.get_codec --codec melrvq --weights "${generator}" --centres "${centres}/kmeans" \
            --data "${data}/dev_sources" --out "${codec}" ${sizes}
fi

if at 2 "tokenise the test prompts"; then
    need 0 "${data}/test_sources/wav.scp"
    need 1 "${codec}/codec.json"
    ${train_cmd} --num-threads 1 "JOB=1:${nj}" "dump/test_sources/log/tokenise.JOB.log" \
        "${python}" -m codecsep.bin.tokenise --codec "${codec}" --data "${data}/test_sources" --out dump/test_sources \
            --job "JOB/${nj}"
fi

for number in 3 4 5; do
    if at "${number}" "nothing to do for a codec"; then :; fi
done

if at 6 "decode: the test prompts once through the codec, to listen to"; then
    need 0 "${data}/test_sources/wav.scp"
    need 1 "${codec}/codec.json"
    ${decode_cmd} exp/resynthesis/through_codec.log \
        "${python}" -m codecsep.bin.through_codec --codec "${codec}" --in "${data}/test_sources" --out exp/resynthesis/test
    log "listen: ${PWD}/exp/resynthesis/test/wav"
fi

if at 7 "score and report"; then
    need 0 "${data}/test_sources/wav.scp"
    need 1 "${codec}/codec.json"
    run.pl "${scored}/log/fetch.log" "${python}" ../../../tools/fetch_weights.py || log "judges are missing, and their columns"
    # shellcheck disable=SC2086  # score_args is a list of words
    ${train_cmd} --num-threads "${num_threads}" "${scored}/log/score.log" \
        "${python}" -m codecsep.bin.score_codec --data "${data}/test_sources" --codec "${codec}" --out "${scored}" \
            ${score_args}
    if [[ -s ${scored}/RESULTS.md ]]; then cat "${scored}/RESULTS.md"; fi
    log "results: ${PWD}/${scored}/RESULTS.md"
fi
finished
