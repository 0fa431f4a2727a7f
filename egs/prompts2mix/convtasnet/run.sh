#!/usr/bin/env bash
# The separator of waveforms that this directory is named after (convtasnet, sepformer, bsrnn, dprnn, tfgridnet): what systems
# with a codec are compared with.  One script for all of them; conf/ says what differs.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. ../../../utils/stage.sh
. ../path.sh     # the virtual environment, PYTHONPATH
. ../cmd.sh      # train_cmd, cuda_cmd, decode_cmd: how jobs are started
. ../corpus.sh   # options of the corpus, prepare_data

stage=0
stop_stage=7
nj=2                      # parallel jobs of stages 0 and 7
num_threads=2             # CPU threads of a training and of a decoding
ngpu=0                    # GPUs of stages 4 and 6, of each machine; 0: CPU
num_nodes=1               # machines of a training; more than one through Slurm, with a process for each GPU
codec_opts=               # a codec, to score what it transmits: "--from ../codec/exp/codec", "--codec dac --weights FILE"
conf_dir=conf             # conf/toy: a few steps, to see all stages run; conf/paper or conf/small: the other sizes
tag=                      # suffix of the experiment directories
train_args=               # passed on to the training, e.g. "--optim.lr 1e-4 --train.device cpu"
decode_args=              # passed on to the decoding, e.g. "--window 10"
score_args="--max_asr 24 --max_dnsmos 6"   # passed on to the scoring: how many mixtures the slow judges hear
dry_run=false             # true: only say which stages would run
python=python3

help_message="usage: ./run.sh [--stage N] [--stop-stage N] [--option value ...]
  0 data       the corpus (../local)          -> data/train..., data/{dev,test}
  1 codec      only with --codec_opts         -> exp/codec             (for stages 6 and 7; nothing is trained in it)
  2, 3         nothing to do for waveforms
  4 train      ${conf_dir}/${PWD##*/}.yaml         -> exp/${PWD##*/}
  5            nothing to do: one network
  6 decode     exp/${PWD##*/}                -> exp/decode/${PWD##*/}/test/spk*.scp   (with a codec: also before, after, both)
  7 score      exp/decode                     -> exp/score/test/{RESULTS.md,index.html}
options of the corpus, with what they are now:
$(sed -n '/^# corpus options/,/^# end/{/^[a-z]/s/^/  --/p}' ../corpus.sh)
options of the recipe:
$(sed -n '/^stage=0/,/^python=/s/^/  --/p' "${0##*/}")"
. ../../../utils/parse_options.sh
no_arguments "$@"
check_stages 0 7
check_corpus
number 1 "${nj}" --nj; number 0 "${ngpu}" --ngpu; number 1 "${num_nodes}" --num_nodes
number 1 "${num_threads}" --num_threads
system=${PWD##*/} config=${conf_dir}/${PWD##*/}.yaml
[[ -d ${conf_dir} ]] || die "--conf_dir ${conf_dir} is not there; it is one of: $(dirname conf/*/*.yaml | sort -u | xargs) conf"
[[ -s ${config} ]] || die "${config} is missing" "a recipe holds a configuration of its own name in each directory of conf"
(( num_nodes == 1 )) || [[ ${cuda_cmd} == slurm.pl* ]] || die "--num_nodes ${num_nodes} needs CODECSEP_CMD_BACKEND=slurm"
print_args

(( ngpu > 0 )) || export CUDA_VISIBLE_DEVICES=   # --ngpu 0 means CPU, also where there is a GPU
launch=("${python}") gang=()
(( ngpu < 2 )) || launch=("${python}" -m codecsep.bin.launch --nproc "${ngpu}")
(( num_nodes < 2 )) || launch=(srun --mpi=none "${python}") gang=(--num-nodes "${num_nodes}" --num-tasks "$((ngpu ? ngpu : 1))")
suffix=${tag:+_${tag}}
exp=exp/${system}${suffix} decoded=exp/decode${suffix} scored=exp/score${suffix}/test
mixing=static; [[ ${train_set} != *_sources ]] || mixing=dynamic

if at 0 "data"; then
    prepare_data
fi

if at 1 "codec ${codec_opts:-(nothing to do without --codec_opts)}"; then
    if [[ -n ${codec_opts} ]]; then
        speech=data/dev_sources; [[ -d ${speech} ]] || speech=data/dev   # on which its delay is measured
        # shellcheck disable=SC2086  # codec_opts is a list of words
        run.pl exp/log/get_codec.log "${python}" -m codecsep.bin.get_codec ${codec_opts} --data "${speech}" --out exp/codec
    fi
fi

for number in 2 3; do
    if at "${number}" "nothing to do for waveforms"; then :; fi
done

if at 4 "train ${system}"; then
    need 0 "data/${train_set}/wav.scp" data/dev/wav.scp
    log "training ${exp}; to look on: tail -f ${exp}/log/train.log"
    # shellcheck disable=SC2086  # train_args is a list of words
    ${cuda_cmd} --gpu "${ngpu}" --num-threads "${num_threads}" ${gang[@]+"${gang[@]}"} "${exp}/log/train.log" \
        "${launch[@]}" -m codecsep.bin.train --config "${config}" --out "${exp}" --train "data/${train_set}" --valid data/dev \
            --data.train "${mixing}" --data.num_speakers "${num_spk}" --data.mode "${mode}" \
            --network.num_speakers "${num_spk}" --network.sample_rate "${sample_rate}" ${train_args}
fi

if at 5 "nothing to do: one network"; then :; fi

separate() {   # mixtures of one data directory: separate data/test exp/decode/convtasnet/test
    # shellcheck disable=SC2086  # decode_args is a list of words
    ${decode_cmd} --gpu "${ngpu}" --num-threads "${num_threads}" "$2/log/separate.log" \
        "${python}" -m codecsep.bin.separate --models "${exp}" --data "$1" --out "$2" --num_speakers "${num_spk}" ${decode_args}
}

through_codec() {   # what spk*.scp or wav.scp of a directory name, encoded and decoded: through_codec data/test data/test_coded
    ${decode_cmd} --gpu "${ngpu}" "${2%/*}/through_codec.log" \
        "${python}" -m codecsep.bin.through_codec --codec exp/codec --in "$1" --out "$2"
}

if at 6 "decode"; then
    need 0 data/test/wav.scp
    need 4 "${exp}/best.safetensors"
    separate data/test "${decoded}/${system}/test"
    if [[ -n ${codec_opts} ]]; then   # transmitted: the codec before the separator, after it, on both sides
        need 1 exp/codec/codec.json
        through_codec data/test exp/coded/test
        separate exp/coded/test "${decoded}/${system}_before/test"
        through_codec "${decoded}/${system}/test" "${decoded}/${system}_after/test"
        through_codec "${decoded}/${system}_before/test" "${decoded}/${system}_both/test"
    fi
fi

if at 7 "score and report"; then
    need 6 "${decoded}/${system}/test/spk1.scp"
    hyps=(--hyp "${system}=${decoded}/${system}/test")
    if [[ -n ${codec_opts} ]]; then
        hyps+=(--codec exp/codec --waveform "${system}")
        for place in before after both; do
            need 6 "${decoded}/${system}_${place}/test/spk1.scp"
            hyps+=(--hyp "${system}_${place}=${decoded}/${system}_${place}/test")
        done
        hyps+=(--passes "${system}_both=2")   # the codec's delay is in it twice
    fi
    run.pl "${scored}/log/fetch.log" "${python}" ../../../tools/fetch_weights.py || log "judges are missing, and their columns"
    # shellcheck disable=SC2086  # score_args is a list of words
    ${train_cmd} --num-threads "${nj}" "${scored}/log/score.log" \
        "${python}" -m codecsep.bin.score --data data/test "${hyps[@]}" --out "${scored}" --nj "${nj}" ${score_args}
    run.pl "${scored}/log/report.log" "${python}" -m codecsep.bin.report --score "${scored}" --out "${scored}"
    if [[ -s ${scored}/table.txt ]]; then cat "${scored}/table.txt"; fi
    log "results: ${PWD}/${scored}/RESULTS.md, listen: ${PWD}/${scored}/index.html"
fi
finished
