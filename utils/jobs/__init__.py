"""What run.pl, stdout.pl, slurm.pl, queue.pl, pbs.pl and ssh.pl share. Needs Python >= 3.10 and nothing else.

request: the command line    conf: options for a scheduler    script: the file that a scheduler starts
logs: headers, footers, reports    processes: signals, nothing left behind
local: jobs on this machine    cluster: submit and watch    slurm, grid: schedulers    ssh: a list of machines
task: what runs on a node
"""
