"""The benchmarks of stage 2 at tiny sizes: they run, compare the same work, and say what they compared."""

import importlib.util

import numpy as np
import pytest

from codecsep import config
from codecsep.bin import bench_arks, bench_codecs, bench_jobs, bench_tokenise
from codecsep.bin.bench_page import BenchError
from codecsep.data.ark import TokenReader


def test_every_table_of_a_quick_run():
    pytest.importorskip("kaldiio", reason="kaldiio is not installed (extra dev)")
    quick = [word for word in bench_tokenise.QUICK if "codecs" not in word]
    tables = bench_tokenise.run(config.load(bench_tokenise.Settings, None, [*quick, "--codecs=[]"]))
    assert [row[0] for row in tables[0].rows] == ["write"]
    assert len(tables) == 1, "one job beside one is no comparison"


def kaldiio_reading(prefix: str, keys: list[str]):
    """What reads the int32 vectors of kaldiio's ark."""
    import kaldiio

    def in_order() -> None:
        for _, vector in kaldiio.load_ark(f"{prefix}.ark"):
            vector.reshape(-1, 8).T.astype(np.int64)

    def at_random() -> None:
        table = kaldiio.load_scp(f"{prefix}.scp")
        for key in bench_arks.shuffled(keys):
            table[key].reshape(-1, 8).T.astype(np.int64)

    return {"in order": in_order, "at random": at_random}


@pytest.mark.long
def test_arks_are_thirty_times_as_fast_as_vectors():
    """2,000 utterances, checksums and ranges checked; 45 to 60 times on an idle machine."""
    pytest.importorskip("kaldiio", reason="kaldiio is not installed (extra dev)")
    found = bench_tokenise.ark_ratio(reading=kaldiio_reading)
    assert list(found) == ["write", "read in order", "read at random"]
    assert min(times.median for times in found.values()) > 30, found


@pytest.mark.skipif(importlib.util.find_spec("encodec") is None, reason="encodec is not installed")
def test_a_codec_has_the_codes_of_its_package():
    found = bench_tokenise.upstream_ratio("encodec", (0.05, 0.1), 1)
    assert found.equal == 1.0 and found.speed.median > 0


def test_a_codec_of_no_package_is_named():
    with pytest.raises(BenchError, match="^E864 .*'mini'.*encodec, dac"):
        bench_codecs.upstream_ratio("mini")


@pytest.mark.long
def test_jobs_do_the_work_of_one(tmp_path):
    data = bench_jobs.corpus(tmp_path / "data" / "train_bench", 20)
    alone = bench_jobs.cpu_seconds(data, tmp_path / "one", 1, 1)
    assert alone > 0 and bench_jobs.wall_seconds(data, tmp_path / "two", 2) > 0
    one, two = (TokenReader(tmp_path / name / "codes.scp") for name in ("one", "two"))
    assert list(one) == list(two) and all((one[key] == two[key]).all() for key in one)
