#!/usr/bin/env python3
"""Run a command, or an array of jobs, through Slurm, and wait for it; the output of each job goes to its log.

usage: slurm.pl [options] [JOB=1:4] [options] log-file command [arguments ...]
  slurm.pl --gpu 1 --requeue true exp/log/train.log python3 -m codecsep.bin.train --config conf/ar.yaml
  slurm.pl --mem 4G --max-jobs-run 20 JOB=1:100 dump/log/tokenise.JOB.log python3 -m codecsep.bin.tokenise --job JOB/100

  JOB=a:b             a job array; JOB (any name) is replaced wherever it stands
  --max-jobs-run N    at most N jobs of the array at a time
  --pick WHICH        all; failed: not those whose log ends with code 0; incomplete: only those whose log has no end
  --requeue true      a job that ends with status 85 (a training that was asked to stop, and has saved) is started again
  --config FILE       instead of conf/slurm.conf, else ../conf/slurm.conf
  any other --name value (--mem, --time, --gpu, --num-threads, --num-nodes ...) as the conf file says

Arguments are passed on exactly as they are; see run.pl --help. The script and what Slurm says lie in the folder q
beside the log. Exit status: 0 when every job ended with 0, else 1; 255 after wrong usage; 128 + n after signal n
(Ctrl-C, TERM, HUP), when the jobs have been cancelled. More in docs/cluster.md.
"""

import sys

from jobs import cluster, slurm

if __name__ == "__main__":
    sys.exit(cluster.main("slurm.pl", __doc__, sys.argv[1:], slurm.Slurm()))
