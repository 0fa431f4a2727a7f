#!/usr/bin/env python3
"""As run.pl, and the output of the jobs goes to the terminal as well as into their logs.

usage: stdout.pl [options] [JOB=1:4] [options] log-file command [arguments ...]
Options, exit status and signals are those of run.pl; see run.pl --help.
"""

import sys

from jobs import local

if __name__ == "__main__":
    sys.exit(local.main_to_terminal("stdout.pl", __doc__, sys.argv[1:]))
