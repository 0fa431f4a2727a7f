#!/usr/bin/env bash
# SLM-SS: mixture encoder -> AR decoder over codebook 0 of a SOT sequence -> NAR over codebooks 1..7 -> codec.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. ../../../utils/stage.sh
. ../path.sh     # the virtual environment, PYTHONPATH
. ../cmd.sh      # train_cmd, cuda_cmd, decode_cmd: how jobs are started
. ../corpus.sh   # options of the corpus, prepare_data

stage=0
stop_stage=7
nj=2                      # parallel jobs of stages 0 and 2, processes of stage 7
num_threads=2             # CPU threads of a training and of a decoding
ngpu=0                    # GPUs of stages 4 to 6, of each machine; 0: CPU
num_nodes=1               # machines of a training; more than one through Slurm, with a process for each GPU
decode_seeds="1 2 3"      # stage 6 samples once with each
codec_from=               # another codec directory than the committed one, e.g. ../melrvq/exp/codec with --conf_dir conf/melrvq
codec_opts=               # or official weights: "--codec encodec --weights FILE" (docs/codecs.md)
train_codec=false         # true: train the codec with ../codec/run.sh instead of taking the committed weights
conf_dir=conf             # conf/toy: a few steps, to see all stages run; conf/paper or conf/small: the other sizes
tag=                      # suffix of the experiment directories
train_args=               # passed on to every training, e.g. "--optim.lr 1e-4 --train.device cpu"
decode_args=              # passed on to the decoding, e.g. "--temperature 0.8"
score_args="--max_asr 24 --max_dnsmos 6"   # passed on to the scoring: how many mixtures the slow judges hear
dry_run=false             # true: only say which stages would run
python=python3

help_message="usage: ./run.sh [--stage N] [--stop-stage N] [--option value ...]
  0 data       recordings (../local)          -> data/{train,dev,test}_sources, data/{train,dev,test}
  1 codec      committed weights, checked     -> exp/codec           (--train_codec true: ../codec/run.sh trains them)
  2 tokenise   data/*                         -> dump/<set>/*codes.{ark,scp}
  3 sequences  dump/{train,dev,test}          -> dump/<set>/seq.{ark,scp}   (SOT; where training mixes anew: made then)
  4 train      ${conf_dir}/pit.yaml, ar.yaml         -> exp/pit, exp/ar      (AR: its encoder starts from exp/pit)
  5 train NAR  ${conf_dir}/nar.yaml                  -> exp/nar              (its encoder is that of exp/ar)
  6 decode     exp/ar + exp/nar, exp/pit      -> exp/decode/{slm_ss_seed<N>,pit}/test/spk*.scp
  7 score      exp/decode                     -> exp/score/test/{RESULTS.md,index.html}
options of the corpus, with what they are now:
$(sed -n '/^# corpus options/,/^# end/{/^[a-z]/s/^/  --/p}' ../corpus.sh)
options of the recipe:
$(sed -n '/^stage=0/,/^python=/s/^/  --/p' "${0##*/}")"
. ../../../utils/parse_options.sh
no_arguments "$@"
check_stages 0 7
check_corpus
number 1 "${nj}" --nj; number 0 "${ngpu}" --ngpu; number 1 "${num_nodes}" --num_nodes; number 1 "${num_threads}" --num_threads
for decode_seed in ${decode_seeds}; do number 0 "${decode_seed}" --decode_seeds; done
[[ -d ${conf_dir} ]] || die "--conf_dir ${conf_dir} is not there; it is one of: $(dirname conf/*/*.yaml | sort -u | xargs) conf"
(( num_nodes == 1 )) || [[ ${cuda_cmd} == slurm.pl* ]] || die "--num_nodes ${num_nodes} needs CODECSEP_CMD_BACKEND=slurm"
print_args

(( ngpu > 0 )) || export CUDA_VISIBLE_DEVICES=   # --ngpu 0 means CPU, also where there is a GPU
launch=("${python}") gang=()
(( ngpu < 2 )) || launch=("${python}" -m codecsep.bin.launch --nproc "${ngpu}")
(( num_nodes < 2 )) || launch=(srun --mpi=none "${python}") gang=(--num-nodes "${num_nodes}" --num-tasks "$((ngpu ? ngpu : 1))")
suffix=${tag:+_${tag}}
mixing=static; [[ ${train_set} != *_sources ]] || mixing=dynamic
pit=exp/pit${suffix} ar=exp/ar${suffix} nar=exp/nar${suffix} decoded=exp/decode${suffix} scored=exp/score${suffix}/test

if at 0 "data"; then
    prepare_data
fi

if at 1 "codec"; then
    if ${train_codec}; then
        [[ -x ../codec/run.sh ]] || die "this corpus trains no codec" "give --codec_from or --codec_opts"
        need 0 data/train_sources/wav.scp
        stdout.pl exp/log/codec.log \
            ../codec/run.sh --stage 1 --stop-stage 1 --ngpu "${ngpu}" --data "${PWD}/data" --python "${python}"
        codec_from=../codec/exp/codec
    fi
    # shellcheck disable=SC2086  # codec_opts is a list of words
    run.pl exp/log/get_codec.log "${python}" -m codecsep.bin.get_codec ${codec_from:+--from "${codec_from}"} \
        ${codec_opts:+${codec_opts} --data data/dev_sources} --out exp/codec
fi

if at 2 "tokenise"; then
    need 1 exp/codec/codec.json
    sets=(train dev test); [[ ${train_set} == train ]] || sets=("${train_set}" "${sets[@]}")
    for set in "${sets[@]}"; do
        need 0 "data/${set}/wav.scp"
        ${train_cmd} --num-threads 1 "JOB=1:${nj}" "dump/${set}/log/tokenise.JOB.log" \
            "${python}" -m codecsep.bin.tokenise --codec exp/codec --data "data/${set}" --out "dump/${set}" --job "JOB/${nj}"
    done
fi

if at 3 "SOT sequences"; then
    for set in train dev test; do
        need 2 "dump/${set}/spk1_codes.scp"
        ${train_cmd} "dump/${set}/log/sequences.log" \
            "${python}" -m codecsep.bin.build_sequences --config "${conf_dir}/ar.yaml" --data "data/${set}" --dump "dump/${set}"
    done
fi

train() {   # one network: its configuration, where it goes, further options
    local config=$1 out=$2; shift 2
    need 2 "dump/${train_set}/utt2num_frames"; need 3 dump/dev/seq.scp
    log "training ${out}; to look on: tail -f ${out}/log/train.log"
    # shellcheck disable=SC2086  # train_args is a list of words
    ${cuda_cmd} --gpu "${ngpu}" --num-threads "${num_threads}" ${gang[@]+"${gang[@]}"} "${out}/log/train.log" \
        "${launch[@]}" -m codecsep.bin.train --config "${config}" --out "${out}" --train "data/${train_set}" \
            --train_dump "dump/${train_set}" --valid data/dev --valid_dump dump/dev \
            --data.train "${mixing}" --data.num_speakers "${num_spk}" --data.mode "${mode}" "$@" ${train_args}
}

if at 4 "train the PIT classifier, then the AR model"; then
    train "${conf_dir}/pit.yaml" "${pit}" --network.num_speakers "${num_spk}"
    train "${conf_dir}/ar.yaml" "${ar}" --init "${pit}"
fi

if at 5 "train the NAR model"; then
    need 4 "${ar}/best.safetensors"
    train "${conf_dir}/nar.yaml" "${nar}" --init "${ar}"
fi

separate() {   # one system: its seed, where its estimates go, its networks
    local seed=$1 out=$2; shift 2
    # shellcheck disable=SC2086  # decode_args is a list of words
    ${decode_cmd} --gpu "${ngpu}" --num-threads "${num_threads}" "${out}/log/separate.log" \
        "${python}" -m codecsep.bin.separate --models "$@" --codec exp/codec --data data/test --out "${out}" --batch_size 16 \
            --config "${conf_dir}/decode.yaml" --seed "${seed}" --num_speakers "${num_spk}" ${decode_args}
}

if at 6 "decode"; then
    need 0 data/test/wav.scp
    need 4 "${pit}/best.safetensors" "${ar}/best.safetensors"
    need 5 "${nar}/best.safetensors"
    for decode_seed in ${decode_seeds}; do
        separate "${decode_seed}" "${decoded}/slm_ss_seed${decode_seed}/test" "${ar}" "${nar}"
    done
    separate 1 "${decoded}/pit/test" "${pit}"   # samples nothing: one seed is enough
fi

if at 7 "score and report"; then
    hypotheses=
    for decode_seed in ${decode_seeds}; do
        need 6 "${decoded}/slm_ss_seed${decode_seed}/test/spk1.scp"
        hypotheses+=${hypotheses:+,}${decoded}/slm_ss_seed${decode_seed}/test
    done
    need 6 "${decoded}/pit/test/spk1.scp"
    run.pl "${scored}/log/fetch.log" "${python}" ../../../tools/fetch_weights.py || log "judges are missing, and their columns"
    # shellcheck disable=SC2086  # score_args is a list of words
    ${train_cmd} --num-threads "${nj}" "${scored}/log/score.log" \
        "${python}" -m codecsep.bin.score --data data/test --codec exp/codec --hyp "slm_ss=${hypotheses}" \
            --hyp "pit_classifier=${decoded}/pit/test" --out "${scored}" --nj "${nj}" ${score_args}
    run.pl "${scored}/log/report.log" "${python}" -m codecsep.bin.report --score "${scored}" --out "${scored}"
    if [[ -s ${scored}/table.txt ]]; then cat "${scored}/table.txt"; fi
    log "results: ${PWD}/${scored}/RESULTS.md, listen: ${PWD}/${scored}/index.html"
fi
finished
