# shellcheck shell=bash disable=SC2034  # the recipes use these variables
# Sourced by the recipes of this corpus: how jobs are started. Edit this file for your cluster.
#   train_cmd   data, tokens, scores: many small jobs on CPUs
#   cuda_cmd    one training; the recipe adds --gpu
#   decode_cmd  decoding; the recipe adds --gpu
# local: on this machine, output into the logs; stdout: the same, and the output is shown as well.
cmd_backend=${cmd_backend:-local}

case ${cmd_backend} in
    local)  train_cmd=run.pl cuda_cmd=run.pl decode_cmd=run.pl ;;
    stdout) train_cmd=stdout.pl cuda_cmd=stdout.pl decode_cmd=stdout.pl ;;
    *) echo "cmd.sh: unknown cmd_backend '${cmd_backend}'; it is local or stdout" >&2; return 1 ;;
esac
