# shellcheck shell=bash disable=SC2034  # the recipes use these variables
# Sourced by the recipes of this corpus: how jobs are started. No need to edit it: CODECSEP_CMD_BACKEND=slurm ./run.sh
#   train_cmd   data, tokens, scores: many small jobs on CPUs
#   cuda_cmd    one training; the recipe adds --gpu
#   decode_cmd  decoding; the recipe adds --gpu
# local: on this machine, output into the logs; stdout: the same, and the output is shown as well.
# slurm, sge, pbs: a cluster, through conf/slurm.conf, queue.conf, pbs.conf here or in the recipe's own conf.
# ssh: the machines in .queue/machines of the recipe. docs/cluster.md says more.
cmd_backend=${CODECSEP_CMD_BACKEND:-${cmd_backend:-local}}

case ${cmd_backend} in
    local)  train_cmd=run.pl cuda_cmd=run.pl decode_cmd=run.pl ;;
    stdout) train_cmd=stdout.pl cuda_cmd=stdout.pl decode_cmd=stdout.pl ;;
    slurm)  train_cmd=slurm.pl cuda_cmd="slurm.pl --requeue true" decode_cmd=slurm.pl ;;
    sge)    train_cmd=queue.pl cuda_cmd=queue.pl decode_cmd=queue.pl ;;
    pbs)    train_cmd=pbs.pl cuda_cmd=pbs.pl decode_cmd=pbs.pl ;;
    ssh)    train_cmd=ssh.pl cuda_cmd=ssh.pl decode_cmd=ssh.pl ;;
    *) echo "cmd.sh: E646 CODECSEP_CMD_BACKEND: is '${cmd_backend}' (fix: local, stdout, slurm, sge, pbs or ssh)" >&2; return 1 ;;
esac
