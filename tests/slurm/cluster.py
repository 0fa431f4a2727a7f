"""A private Slurm on the loopback interface: two nodes on this machine, no accounts, no accounting, root or not.

All of it lies in one directory and on free ports, so several can run side by side, beside a real one too.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun", "slurmctld", "slurmd")
NODES = ("n1", "n2")
SECONDS_TO_START = 60.0
PR_SET_PDEATHSIG = 1
CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=100000,bf_interval=1
EnforcePartLimits={enforce}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
KillWait={kill_wait}
MinJobAge=300
DefMemPerCPU=100
SlurmdParameters=config_overrides
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
SlurmdSpoolDir={folder}/spool.%n
GresTypes=gpu
{nodes}
PartitionName=batch Nodes=ALL Default=YES MaxTime=60 PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=60 PriorityTier=9
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 RealMemory=4000 Gres=gpu:2"
GPUS = "NodeName={name} Name=gpu File=/dev/zero\nNodeName={name} Name=gpu File=/dev/null\n"


def missing_programs() -> list[str]:
    """Those programs of Slurm that are not installed here."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return [name for name in PROGRAMS if shutil.which(name, path=path) is None]


class Cluster:
    """A running Slurm. `environment` is what its commands need; `controller` may be stopped and started."""

    def __init__(self, folder: Path, enforce: str = "ALL", kill_wait: int = 5):
        self.folder = folder
        (folder / "state").mkdir(parents=True)
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}
        self.environment["PATH"] = f"{self.environment.get('PATH', '')}:/usr/sbin:/sbin"
        self._write_configuration(enforce, kill_wait)
        self.controller: subprocess.Popen | None = None
        self.nodes: list[subprocess.Popen] = []

    def _write_configuration(self, enforce: str, kill_wait: int) -> None:
        host, ports = socket.gethostname().split(".")[0], free_ports(1 + len(NODES))
        nodes = [NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports[1:], strict=True)]
        text = CONF.format(
            host=host, port=ports[0], user=user_name(), folder=self.folder,
            enforce=enforce, kill_wait=kill_wait, nodes="\n".join(nodes),
        )  # fmt: skip
        (self.folder / "slurm.conf").write_text(text, encoding="utf-8")
        gpus = "".join(GPUS.format(name=name) for name in NODES)
        (self.folder / "gres.conf").write_text(gpus, encoding="utf-8")

    def start(self) -> None:
        """Start the daemons and wait until all nodes are idle. Raises RuntimeError with the end of their logs."""
        self.start_controller()
        self.nodes = [self._daemon("slurmd", "-D", "-N", name) for name in NODES]
        end = time.time() + SECONDS_TO_START
        while self.call("sinfo", "-h", "-N", "-p", "batch", "-o", "%t").split() != ["idle"] * len(NODES):
            if time.time() > end:
                logs = "\n".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("slurm*.log")))
                self.stop()
                raise RuntimeError(f"the private Slurm did not start:\n{logs}")
            time.sleep(0.1)

    def start_controller(self) -> None:
        self.controller = self._daemon("slurmctld", "-D")

    def stop_controller(self) -> None:
        if self.controller is not None:
            end_process(self.controller)
            self.controller = None

    def _daemon(self, *words: str) -> subprocess.Popen:
        out = open(self.folder / f"{words[0]}.out", "ab")
        with out:
            return subprocess.Popen(
                words, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                preexec_fn=_die_with_parent,
            )  # fmt: skip

    def stop(self) -> None:
        """Cancel what runs, end the daemons."""
        if self.controller is not None:
            self.call("scancel", "-f", "-u", user_name())
            end = time.time() + 10
            while self.call("squeue", "-h").strip() and time.time() < end:
                time.sleep(0.1)
        for process in self.nodes:
            end_process(process)
        self.stop_controller()

    def call(self, *words: str) -> str:
        """Standard output of a command of Slurm; empty when it fails."""
        result = subprocess.run(words, capture_output=True, text=True, env=self.environment, timeout=60)
        return result.stdout


def end_process(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _die_with_parent() -> None:
    """The daemons go when the tests are killed."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def user_name() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def free_ports(number: int) -> list[int]:
    """Ports that nobody listens on; all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def running(folder: Path, enforce: str = "ALL", kill_wait: int = 5) -> Iterator[Cluster]:
    """A cluster that runs while the block does."""
    cluster = Cluster(folder, enforce, kill_wait)
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()
