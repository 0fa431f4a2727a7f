#!/usr/bin/env python3
"""Run a command, or an array of jobs, on this machine; the output of each goes to its log.

usage: run.pl [options] [JOB=1:4] [options] log-file command [arguments ...]
  run.pl exp/log/train.log python3 -m codecsep.bin.train --config conf/ar.yaml
  run.pl --max-jobs-run 2 JOB=1:8 dump/log/tokenise.JOB.log python3 -m codecsep.bin.tokenise --job JOB/8

  JOB=a:b             run the command once for each number; JOB (any name) is replaced wherever it stands
  --max-jobs-run N    at most N jobs at a time (default: the number of CPUs); of several the smallest counts; also -tc N
  --gpu N             N GPUs for each job, handed out through CUDA_VISIBLE_DEVICES; ignored where there is no GPU
  --num-threads N     OMP_NUM_THREADS of the jobs (default: what is set already, else 1); also -pe smp N
  --pick WHICH        all; failed: not those whose log ends with code 0; incomplete: only those whose log has no end
  any other --name value (--mem 4G, --time 1:0:0, --num_nodes 2 ...) is for clusters and is ignored here

Arguments are passed on exactly as they are. Only the bare words | || && ; > >> < 2>&1 mean what they mean in a shell;
a pipeline fails when any part of it fails. Exit status: 0 when every job ended with 0, else 1; 255 after wrong usage;
128 + n after signal n: TERM goes to all jobs and what they started, KILL four seconds later to what is left.
"""

import sys

from jobs import local

if __name__ == "__main__":
    sys.exit(local.main("run.pl", __doc__, sys.argv[1:]))
