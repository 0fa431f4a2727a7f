"""Trainings on a real Slurm: two nodes, preemption, a time limit that comes near, a signal by hand."""

import re
import subprocess
import sys
import time

import cluster
import launching
import numpy as np
import pytest
import yaml
from launching import Place, wait_for

missing = cluster.missing_programs()
pytestmark = pytest.mark.skipif(bool(missing), reason=f"no Slurm here (apt-get install slurm-wlm): {' '.join(missing)}")
CONF = (launching.ROOT / "egs/prompts2mix/conf/slurm.conf").read_text()
TRAIN = [sys.executable, str(launching.ROOT / "tests/slurm/train_toy.py"), "--config", "c.yaml"]
TRAIN += ["--train", "data", "--valid", "data"]
SETTINGS = {
    "model": "toy",
    "network": {"noise": 0.1},
    "data": {"train": "crops", "valid": "crops", "crop_seconds": 0.1, "epoch_size": 30, "valid_size": 8},
    "batch": {"max_frames": 20, "max_examples": 4},
    "optim": {"lr": 0.02},
    "train": {"max_steps": 40, "valid_interval": 4, "log_interval": 2, "tensorboard": False, "device": "cpu"},
}
SLOW = ["--network.pause", "0.1"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    with cluster.running(tmp_path_factory.mktemp("slurm"), kill_wait=20) as running:
        yield running


def prepare(folder):
    """Three short noises and the settings of a small training."""
    from codecsep.data import audio
    from codecsep.data.datadir import write_table

    random = np.random.default_rng(0)
    for key in "abc":
        audio.write_audio(folder / f"{key}.wav", 0.1 * random.standard_normal(800), 1000)
    (folder / "data").mkdir()
    write_table(folder / "data/wav.scp", {key: f"{key}.wav" for key in "abc"})
    (folder / "c.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


@pytest.fixture
def place(tmp_path, slurm):
    launching.conf(prepare(tmp_path), CONF)
    return Place(tmp_path, {**launching.CLEAN, **slurm.environment, "OMP_NUM_THREADS": "1"})


def train_here(folder, out, *more):
    """The same training without a cluster and without a break."""
    environment = {**launching.CLEAN, "OMP_NUM_THREADS": "1"}
    result = subprocess.run([*TRAIN, "--out", out, *more], cwd=folder, env=environment, capture_output=True)
    assert result.returncode == 0, result.stderr.decode()
    return folder / out


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return train_here(prepare(tmp_path_factory.mktemp("here")), "exp/a")


def assert_equal_results(one, other):
    for name in ("best.safetensors", "history.tsv", "losses.tsv"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def assert_close(one, other):
    """Sums of two ranks come in another order than those of one process."""
    from safetensors.numpy import load_file

    found, expected = (load_file(folder / "best.safetensors") for folder in (one, other))
    assert found.keys() == expected.keys()
    for name in expected.keys() - {"steps"}:  # which counts the batches of one process
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


def wait_for_step(place, out, step):
    log = place.folder / out / "train.log"
    assert wait_for(lambda: log.exists() and f"step {step}/" in log.read_text(), 120)


def start_again_soon(slurm, place, job, number=1):
    """Slurm lets a requeued job wait for two minutes, because a node refuses it at first; seconds are enough here."""
    kept = place.folder / f"exp/a/log/train.log.attempt{number}"
    end = time.time() + 120
    while not kept.exists() and time.time() < end:
        details = slurm.call("scontrol", "show", "job", "-o", job)
        eligible = re.search(r"EligibleTime=(\d\S+)", details)
        wait = time.mktime(time.strptime(eligible[1], "%Y-%m-%dT%H:%M:%S")) - time.time() if eligible else 0
        if "JobState=PENDING" in details and wait > 5:
            slurm.call("scontrol", "update", f"JobId={job}", "StartTime=now+3seconds")
        time.sleep(0.5)
    assert kept.exists()


def state(slurm, job):
    return slurm.call("squeue", "-h", "-j", job, "-t", "all", "-o", "%T %r").strip()


def job_of(process):
    return process.stdout.readline().split()[2].rstrip(":")


def test_two_nodes_train_as_one_with_accumulation(place):
    calm = ["--network.noise", "0", "--train.max_steps", "12"]
    port = str(cluster.free_ports(1)[0])
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    words = ["--num-nodes", "2", "exp/two/log/train.log", "srun", "--mpi=none", *TRAIN, "--out", "exp/two", *calm]
    result = place.run(*words, **environment)
    assert result.returncode == 0, result.stderr
    log = place.read("exp/two/log/train.log")
    assert "SLURM_JOB_NODELIST=n[1-2]" in log and "2 x cpu" in log, log
    train_here(place.folder, "exp/one", *calm, "--train.accum", "2")
    assert_close(place.folder / "exp/two", place.folder / "exp/one")


def test_preempted_training_ends_with_the_same_weights(place, slurm, uninterrupted):
    """A job of a higher priority takes the nodes; the training saves, waits, goes on. Its reading process survives."""
    words = ["--requeue", "true", "--num-nodes", "2", "--num-threads", "4", "exp/a/log/train.log", *TRAIN]
    process = place.start(*words, "--out", "exp/a", "--data.num_workers", "1", *SLOW)
    job = job_of(process)
    wait_for_step(place, "exp/a", 4)
    slurm.call("sbatch", "-p", "urgent", "-N", "2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 1")
    start_again_soon(slurm, place, job)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    first, second = place.read("exp/a/log/train.log.attempt1"), place.read("exp/a/log/train.log")
    assert "stopped by SIGTERM" in first and "(code 85)" in first
    assert "SLURM_RESTART_COUNT=1" in second and "(code 0)" in second
    assert_equal_results(place.folder / "exp/a", uninterrupted)


@pytest.mark.long
def test_training_asked_to_stop_by_usr1_is_started_again(place, slurm, uninterrupted):
    """The signal goes to the batch script alone, as that of a time limit does; status 85 makes a new attempt."""
    process = place.start("--requeue", "true", "exp/a/log/train.log", *TRAIN, "--out", "exp/a", *SLOW)
    job = job_of(process)
    wait_for_step(place, "exp/a", 4)
    slurm.call("scancel", "--batch", "-s", "USR1", job)
    start_again_soon(slurm, place, job)
    output = process.communicate(timeout=180)[0]
    assert process.returncode == 0, output
    assert "stopped by SIGUSR1" in place.read("exp/a/log/train.log.attempt1")
    assert_equal_results(place.folder / "exp/a", uninterrupted)


@pytest.mark.long
def test_two_nodes_stop_and_go_on_together(place, slurm):
    """The signal reaches the batch script, from there srun, from there the ranks on both nodes; all end with 85."""
    environment = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(cluster.free_ports(1)[0])}
    calm = ["--network.noise", "0", "--network.pause", "0.2"]
    words = ["--requeue", "true", "--num-nodes", "2", "exp/a/log/train.log", "srun", "--mpi=none", *TRAIN]
    process = place.start(*words, "--out", "exp/a", *calm, **environment)
    job = job_of(process)
    wait_for_step(place, "exp/a", 4)
    slurm.call("scancel", "--batch", "-s", "USR1", job)
    start_again_soon(slurm, place, job)
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 0, output
    assert "stopped by SIGUSR1" in place.read("exp/a/log/train.log.attempt1")
    assert "(code 85)" in place.read("exp/a/log/train.log.attempt1")
    train_here(place.folder, "exp/one", "--network.noise", "0", "--train.accum", "2")
    assert_close(place.folder / "exp/a", place.folder / "exp/one")


@pytest.mark.long
def test_time_limit(place, slurm, uninterrupted):
    """One minute is not enough; Slurm says so beforehand, and the training is started again until it is done."""
    launching.conf(place.folder, CONF.replace("B:USR1@120", "B:USR1@40"))
    words = ["--requeue", "true", "--time", "1", "exp/a/log/train.log", *TRAIN, "--out", "exp/a"]
    process = place.start(*words, "--network.pause", "1.2")
    job, number = job_of(process), 0
    while process.poll() is None:
        if wait_for(lambda: process.poll() is not None or state(slurm, job) .startswith("PENDING"), 5):
            number += 1
            if process.poll() is None:
                start_again_soon(slurm, place, job, number)
    output = process.communicate(timeout=10)[0]
    assert process.returncode == 0, output
    assert "stopped by SIGUSR1" in place.read("exp/a/log/train.log.attempt1")
    assert_equal_results(place.folder / "exp/a", uninterrupted)
