#!/usr/bin/env python3
"""Run a command, or an array of jobs, through ssh, on the machines listed in .queue/machines, and wait for it.

usage: ssh.pl [options] [JOB=1:4] [options] log-file command [arguments ...]
  --max-jobs-run N, --pick WHICH, --num-threads N, log files and exit status as those of run.pl; see run.pl --help
  any other --name value is ignored with a message
Job i runs on machine number i of the list, which starts anew at its end. The machines share this file system.

The script that is started and what it says lie in the folder q beside the log. More in docs/cluster.md.
"""

import sys

from jobs import ssh

if __name__ == "__main__":
    sys.exit(ssh.main("ssh.pl", __doc__, sys.argv[1:]))
