#!/usr/bin/env python3
"""Run a command, or an array of jobs, through Grid Engine (qsub, qstat, qdel), and wait for it.

usage: queue.pl [options] [JOB=1:4] [options] log-file command [arguments ...]
  --max-jobs-run N, --pick WHICH, --num-threads N, log files and exit status as those of run.pl; see run.pl --help
  any other --name value as conf/queue.conf says, or --config FILE (else ../conf/queue.conf)

The script that is started and what it says lie in the folder q beside the log. More in docs/cluster.md.
"""

import sys

from jobs import cluster, grid

if __name__ == "__main__":
    sys.exit(cluster.main("queue.pl", __doc__, sys.argv[1:], grid.GridEngine()))
