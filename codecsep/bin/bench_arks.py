"""Token arks beside kaldiio: ours are checked float32 matrices, its are int32 vectors, the integers it can hold."""

import random
import tempfile
from collections.abc import Callable, Iterable

import numpy as np

from codecsep.bin.bench_timing import Contender, Ratio, cpu_clock, interleave, ratio
from codecsep.data.ark import TokenReader, TokenWriter
from codecsep.torch_audio import PackageError

SLOWER_SHARE = 20  # of the utterances that we write and read, one in so many goes through kaldiio
ARK = {"write": "write", "in order": "read in order", "at random": "read at random"}
Works = dict[str, Callable[[], object]]


def ark_ratio(utterances: int = 2000, rounds: int = 5) -> dict[str, Ratio]:
    """{work: how many times as fast as kaldiio's int32 vectors}, per utterance of 8 codebooks at 400 to 1,200 frames.

    Raises PackageError without kaldiio.
    """
    try:
        import kaldiio
    except ImportError:
        raise PackageError("E901", "is not installed", "kaldiio", "pip install kaldiio -c constraints.txt") from None
    generator = np.random.default_rng(0)
    codes = {f"u{i:06d}": generator.integers(0, 512, (8, int(generator.integers(400, 1200))))
             for i in range(utterances)}  # fmt: skip
    few = list(codes)[::SLOWER_SHARE]
    with tempfile.TemporaryDirectory() as folder:
        works = {**own_work(f"{folder}/own", codes), **kaldiio_work(kaldiio, f"{folder}/theirs", codes, few)}
        seconds = interleave({name: Contender(work) for name, work in works.items()}, rounds, cpu_clock)
    scale = len(codes) / len(few)
    slower = {name: [value * scale for value in seconds[f"kaldiio, {name}"]] for name in ARK}
    return {told: ratio(slower[name], seconds[name]) for name, told in ARK.items()}


def own_work(prefix: str, codes: dict[str, np.ndarray]) -> Works:
    """Writing all, reading all in order and at random, checks included."""

    def write() -> None:
        with TokenWriter(prefix) as writer:
            for key, matrix in codes.items():
                writer.write(key, matrix)

    def read(keys: list[str]) -> None:
        reader = TokenReader(f"{prefix}.scp", 512, 8)
        for key in keys:
            reader[key]

    write()
    return {"write": write, "in order": lambda: read(list(codes)), "at random": lambda: read(shuffled(codes))}


def kaldiio_work(kaldiio, prefix: str, codes: dict[str, np.ndarray], keys: list[str]) -> Works:
    """The same of some utterances, flattened frame by frame into the int32 vectors that it can hold."""

    def write() -> None:
        with kaldiio.WriteHelper(f"ark,scp:{prefix}.ark,{prefix}.scp") as writer:
            for key in keys:
                writer(key, codes[key].T.reshape(-1).astype(np.int32))

    def read(order: list[str]) -> None:
        table = kaldiio.load_scp(f"{prefix}.scp")
        for key in order:
            table[key].reshape(-1, 8).T.astype(np.int64)

    def read_through() -> None:
        for _, vector in kaldiio.load_ark(f"{prefix}.ark"):
            vector.reshape(-1, 8).T.astype(np.int64)

    write()
    works = {"write": write, "in order": read_through, "at random": lambda: read(shuffled(keys))}
    return {f"kaldiio, {name}": work for name, work in works.items()}


def shuffled(keys: Iterable[str]) -> list[str]:
    order = list(keys)
    random.Random(0).shuffle(order)
    return order
