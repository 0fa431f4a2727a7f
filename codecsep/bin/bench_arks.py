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
Reading = Callable[[str, list[str]], Works]


def ark_ratio(utterances: int = 2000, rounds: int = 5, reading: Reading = lambda prefix, keys: {}) -> dict[str, Ratio]:
    """{work: how many times as fast as kaldiio's int32 vectors}, per utterance of 8 codebooks at 400 to 1,200 frames.

    reading: (prefix, ids) -> works "in order" and "at random" that read kaldiio's ark. It is given from outside, by the
    tests: kaldiio unpickles what it finds in an ark, so no file of the package calls its loaders. Without it writing
    alone is compared. Raises PackageError without kaldiio.
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
        theirs = kaldiio_work(kaldiio, f"{folder}/theirs", codes, few) | reading(f"{folder}/theirs", few)
        own = {name: work for name, work in own_work(f"{folder}/own", codes).items() if name in theirs}
        works = own | {f"kaldiio, {name}": work for name, work in theirs.items()}
        seconds = interleave({name: Contender(work) for name, work in works.items()}, rounds, cpu_clock)
    scale = len(codes) / len(few)
    slower = {name: [value * scale for value in seconds[f"kaldiio, {name}"]] for name in own}
    return {ARK[name]: ratio(slower[name], seconds[name]) for name in own}


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
    """Writing some utterances, flattened frame by frame into the int32 vectors that it can hold."""

    def write() -> None:
        with kaldiio.WriteHelper(f"ark,scp:{prefix}.ark,{prefix}.scp") as writer:
            for key in keys:
                writer(key, codes[key].T.reshape(-1).astype(np.int32))

    write()
    return {"write": write}


def shuffled(keys: Iterable[str]) -> list[str]:
    order = list(keys)
    random.Random(0).shuffle(order)
    return order
