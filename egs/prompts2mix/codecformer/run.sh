#!/usr/bin/env bash
# The separator in a codec's latent space that this directory is named after (codecformer, codecformer_el, rvq_grid, dasb):
# encoder of a frozen codec -> separator -> decoder.  One script for all of them; conf/ says what differs.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"
. ../../../utils/stage.sh
. ../path.sh     # the virtual environment, PYTHONPATH
. ../cmd.sh      # train_cmd, cuda_cmd, decode_cmd: how jobs are started
. ../corpus.sh   # options of the corpus, prepare_data

stage=0
stop_stage=7
nj=2                      # parallel jobs of stages 0, 2 and 7
num_threads=2             # CPU threads of a training and of a decoding
ngpu=0                    # GPUs of stages 4 to 6, of each machine; 0: CPU
num_nodes=1               # machines of a training; more than one through Slurm, with a process for each GPU
codec_opts=               # which codec: "--from ../codec/exp/codec", "--codec dac --weights FILE"; empty: the committed small one
conf_dir=conf             # conf/toy: a few steps, to see all stages run; conf/paper or conf/small: the other sizes
tag=                      # suffix of the experiment directories
train_args=               # passed on to every training, e.g. "--optim.lr 1e-4 --train.device cpu"
decode_args=              # passed on to the decoding, e.g. "--window 10"
score_args="--max_asr 24 --max_dnsmos 6"   # passed on to the scoring: how many mixtures the slow judges hear
dry_run=false             # true: only say which stages would run
python=python3

help_message="usage: ./run.sh [--stage N] [--stop-stage N] [--option value ...]
  0 data       the corpus (../local)          -> data/train..., data/{dev,test}
  1 codec      ${codec_opts:-committed weights, checked}     -> exp/codec
  2 tokenise   latents or codes, where ${conf_dir}/${PWD##*/}.yaml trains on stored ones -> dump/{train,dev}
  3            nothing to do: no sequences
  4 train      ${conf_dir}/${PWD##*/}.yaml         -> exp/${PWD##*/}
  5 fine-tune  ${conf_dir}/finetune.yaml, where there is one -> exp/${PWD##*/}_finetune   (on what the codec transmits)
  6 decode     exp/${PWD##*/}                -> exp/decode/${PWD##*/}/test/spk*.scp
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
stored='' content=codes sizes=(--network.sample_rate "${sample_rate}")   # stored: a training reads `content` from dump/
if grep -Eq '^ *loss: latent' "${config}"; then stored=true content=latents train_set=train; fi   # of whole mixtures
if grep -Eq '^model: pit_classifier' "${config}"; then stored=true sizes=(); fi   # at the rate of its codec
mixing=static; [[ ${train_set} != *_sources ]] || mixing=dynamic

if at 0 "data"; then
    prepare_data
fi

if at 1 "codec"; then
    speech=data/dev_sources; [[ -d ${speech} ]] || speech=data/dev   # on which its delay is measured
    # shellcheck disable=SC2086  # codec_opts is a list of words
    run.pl exp/log/get_codec.log \
        "${python}" -m codecsep.bin.get_codec ${codec_opts:+${codec_opts} --data "${speech}"} --out exp/codec
fi

if at 2 "tokenise${stored:+: ${content}}"; then
    for set in ${stored:+"${train_set}" dev}; do
        need 1 exp/codec/codec.json
        need 0 "data/${set}/wav.scp"
        ${train_cmd} --num-threads 1 "JOB=1:${nj}" "dump/${set}/log/tokenise.JOB.log" \
            "${python}" -m codecsep.bin.tokenise --content "${content}" --codec exp/codec --data "data/${set}" \
                --out "dump/${set}" --job "JOB/${nj}"
    done
    [[ -n ${stored} ]] || log "nothing to do: the training encodes as it goes"
fi

if at 3 "nothing to do: no sequences"; then :; fi

train() {   # one network: its configuration, where it goes, further options
    local config=$1 out=$2 dumps=(); shift 2
    need 0 "data/${train_set}/wav.scp" data/dev/wav.scp; need 1 exp/codec/codec.json
    if [[ -n ${stored} ]]; then
        need 2 dump/dev/utt2num_frames
        dumps=(--train_dump "dump/${train_set}" --valid_dump dump/dev)
    fi
    log "training ${out}; to look on: tail -f ${out}/log/train.log"
    # shellcheck disable=SC2086  # train_args is a list of words
    ${cuda_cmd} --gpu "${ngpu}" --num-threads "${num_threads}" ${gang[@]+"${gang[@]}"} "${out}/log/train.log" \
        "${launch[@]}" -m codecsep.bin.train --config "${config}" --out "${out}" --codec exp/codec --train "data/${train_set}" \
            --valid data/dev ${dumps[@]+"${dumps[@]}"} --data.train "${mixing}" --data.num_speakers "${num_spk}" \
            --data.mode "${mode}" --network.num_speakers "${num_spk}" ${sizes[@]+"${sizes[@]}"} "$@" ${train_args}
}

if at 4 "train ${system}"; then
    train "${config}" "${exp}"
fi

systems=("${system}")
if [[ -s ${conf_dir}/finetune.yaml ]]; then systems+=("${system}_finetune"); fi
if at 5 "fine-tune ${systems[1]:-(nothing to do: no ${conf_dir}/finetune.yaml)}"; then
    if [[ -n ${systems[1]:-} ]]; then
        need 4 "${exp}/best.safetensors"
        train "${conf_dir}/finetune.yaml" "exp/${system}_finetune${suffix}" --init "${exp}"
    fi
fi

if at 6 "decode"; then
    need 0 data/test/wav.scp
    for one in "${systems[@]}"; do
        need "$([[ ${one} == *_finetune ]] && echo 5 || echo 4)" "exp/${one}${suffix}/best.safetensors"
        # shellcheck disable=SC2086  # decode_args is a list of words
        ${decode_cmd} --gpu "${ngpu}" --num-threads "${num_threads}" "${decoded}/${one}/test/log/separate.log" \
            "${python}" -m codecsep.bin.separate --models "exp/${one}${suffix}" --codec exp/codec --data data/test \
                --out "${decoded}/${one}/test" --num_speakers "${num_spk}" ${decode_args}
    done
fi

if at 7 "score and report"; then
    hyps=()
    for one in "${systems[@]}"; do
        need 6 "${decoded}/${one}/test/spk1.scp"
        hyps+=(--hyp "${one}=${decoded}/${one}/test")
    done
    run.pl "${scored}/log/fetch.log" "${python}" ../../../tools/fetch_weights.py || log "judges are missing, and their columns"
    # shellcheck disable=SC2086  # score_args is a list of words
    ${train_cmd} --num-threads "${nj}" "${scored}/log/score.log" \
        "${python}" -m codecsep.bin.score --data data/test --codec exp/codec "${hyps[@]}" --out "${scored}" \
            --nj "${nj}" ${score_args}
    run.pl "${scored}/log/report.log" "${python}" -m codecsep.bin.report --score "${scored}" --out "${scored}"
    if [[ -s ${scored}/table.txt ]]; then cat "${scored}/table.txt"; fi
    log "results: ${PWD}/${scored}/RESULTS.md, listen: ${PWD}/${scored}/index.html"
fi
finished
