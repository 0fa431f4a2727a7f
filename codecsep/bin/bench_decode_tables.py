"""The tables of `bench decode`: who is compared with whom, on which work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from codecsep.bin import bench_queue as work
from codecsep.bin.bench_ct2 import CTranslate2
from codecsep.bin.bench_own import EXACT, SAMPLED, Own
from codecsep.bin.bench_page import Table
from codecsep.bin.bench_queue import Utterance
from codecsep.bin.bench_roofline import StepSize, copy_bandwidth, product_rate
from codecsep.bin.bench_timing import Clock, Contender, cuda_clock, interleave, median, ratio
from codecsep.bin.bench_twins import HuggingFace, NoCache
from codecsep.decode.options import DecodeOptions
from codecsep.models.slm_ss import AutoregressivePart
from codecsep.torch_audio import PackageError

COMPUTES = ("float32", "int8")  # of CTranslate2
BYTES = {"fp32": (4, 4, 4), "int8": (1, 2, 4), "bf16": (2, 2, 2)}  # of a weight, a cached number, the output layer's
RATIOS = "Ratios: median of the rounds, least and largest in brackets; a ratio is taken within a round."


@dataclass
class Bench:
    """Everything that is made once: the work, the contenders by name, the clock."""

    settings: Any  # bench_decode.Settings
    clock: Clock
    queue: list[Utterance]
    part: AutoregressivePart
    own: dict[str, Own]
    twin: HuggingFace
    naive: NoCache

    @property
    def is_cuda(self) -> bool:
        return self.clock is cuda_clock

    def equal(self, rows: int, tokens: int) -> list[Utterance]:
        settings = self.settings
        return work.equal(rows, tokens, settings.equal_memory, settings.width, settings.device)


def counted(run: Callable[[], list[int]], wanted: Sequence[Utterance]) -> Callable[[], None]:
    """`run`, which must decode just the tokens that are wanted: only then do times compare."""

    def checked() -> None:
        found, right = run(), [row.tokens for row in wanted]
        if found != right:
            raise RuntimeError(f"decoded {found} tokens, not {right}")

    return checked


def ragged(bench: Bench) -> Table:
    """The queue: padded batches in the given order by generate, our slots, our own one by one."""
    queue, settings = bench.queue, bench.settings
    cache = bench.twin.best_cache(queue[: max(settings.slots)], bench.clock)
    first, alone = next(iter(bench.own)), "one by one"
    runs = {(f"ours, {first}, {alone}", 1): lambda: bench.own[first].decode_queue(queue, 1)}
    for slots in settings.slots:
        runs["generate", slots] = lambda slots=slots: _padded(bench.twin, queue, slots, cache)
        for name, own in bench.own.items():
            runs[f"ours, {name}", slots] = lambda own=own, slots=slots: own.decode_queue(queue, slots)
    for own in bench.own.values():
        own.decode_queue(queue[:2], 2)  # generate has been warmed up by the choice of its cache
    contenders = {key: Contender(counted(run, queue)) for key, run in runs.items()}
    seconds = interleave(contenders, settings.rounds, bench.clock)
    tokens = sum(row.tokens for row in queue)
    single = seconds[f"ours, {first}, {alone}", 1]
    table = Table(f"Queue of {len(queue)} utterances, {min(row.tokens for row in queue)} to "
                  f"{max(row.tokens for row in queue)} tokens, {tokens} together",
                  ["decoder", "slots", "tokens/s", "times generate", f"times ours {alone}"])  # fmt: skip
    for (name, slots), times in seconds.items():
        twin = seconds.get(("generate", slots))
        against = str(ratio(twin, times)) if twin else "-"
        table.rows.append([name, slots, tokens / median(times), against, str(ratio(single, times))])
    table.notes = [RATIOS, *notes_of_queue(bench, cache)]
    return table


def notes_of_queue(bench: Bench, cache: str) -> list[str]:
    filled = sum(row.tokens for row in bench.queue)
    shares = []
    for slots in bench.settings.slots:
        parts = work.batches(bench.queue, slots)
        steps = sum(len(rows) * max(row.tokens for row in rows) for rows in parts)
        shares.append(f"{filled / steps:.0%} with {slots} rows")
    return [
        "generate: transformers' BartForConditionalGeneration of equal size, greedy, encoder_outputs given, batches "
        f"padded in the given order (share of real tokens: {', '.join(shares)}), cache_implementation '{cache}' "
        f"(the faster of dynamic and static here), {str(bench.twin.dtype).removeprefix('torch.')}.",
        "ours: with all rules of a serialised sequence (blank, grammar, length, loops), which generate does without.",
        "Lengths: every 46.875th mixture of Libri2Mix test-clean (official list), both speakers, mode max, "
        f"{bench.settings.frame_rate:g} tokens per second of speech and {bench.settings.memory_rate:g} memory frames "
        "per second of mixture.",
    ]


def _padded(twin: HuggingFace, queue: Sequence[Utterance], slots: int, cache: str) -> list[int]:
    return [count for rows in work.batches(queue, slots) for count in twin.decode(rows, cache)]


def equal(bench: Bench, batch: int) -> list[Table]:
    """Batches of equal length: everybody, and how near a step of ours comes to the floor."""
    settings = bench.settings
    rows = bench.equal(batch, settings.equal_tokens)
    cache = bench.twin.best_cache(rows, bench.clock)
    contenders, missing = _equal_contenders(bench, rows, cache)
    seconds = interleave(contenders, settings.rounds, bench.clock)
    steps = rows[0].tokens
    table = Table(f"{batch} rows of {steps} tokens, {settings.equal_memory} memory frames",
                  ["decoder", "tokens/s", "ms a step", "times generate", "times no cache"])  # fmt: skip
    for name, times in seconds.items():
        against = [str(ratio(seconds[other], times)) for other in ("generate", "no cache")]
        table.rows.append([name, batch * steps / median(times), 1000 * median(times) / steps, *against])
    table.notes = [RATIOS, f"generate: cache_implementation '{cache}'.", *missing, whole_loop(bench, batch)]
    return [table, roofline(bench, batch, seconds)]


def _equal_contenders(bench: Bench, rows: Sequence[Utterance], cache: str) -> tuple[dict[str, Contender], list[str]]:
    """By name; and a note for each that is not there."""
    runs: dict[str, Any] = {"generate": lambda: bench.twin.decode(rows, cache)}
    runs |= {f"ours, {name}": lambda own=own: own.decode(rows) for name, own in bench.own.items()}
    notes = []
    try:
        if bench.is_cuda:
            notes.append("CTranslate2 is compared on CPUs only.")
        else:
            for compute in COMPUTES:
                model = CTranslate2(bench.part, compute, bench.settings.equal_memory)
                runs[f"CTranslate2, {compute}"] = lambda model=model: model.decode(rows)
    except PackageError as error:
        notes.append(f"CTranslate2 is left out: {error}")
    contenders = {name: Contender(counted(run, rows), warm=run) for name, run in runs.items()}
    naive = bench.naive
    measure = lambda clock: naive.seconds(rows, clock)  # noqa: E731
    contenders["no cache"] = Contender(lambda: naive.decode(rows[:1]), measure=measure)
    return contenders, notes


def whole_loop(bench: Bench, batch: int) -> str:
    """The loop without a cache, computed from samples and run whole, at a length where that is bearable."""
    rows = bench.equal(batch, bench.settings.whole_tokens)
    pairs = [(bench.naive.seconds(rows, bench.clock), bench.clock(lambda: bench.naive.decode(rows))) for _ in range(3)]
    found = ratio([sampled for sampled, _ in pairs], [whole for _, whole in pairs])
    return (
        "no cache: torch's nn.TransformerDecoder over the whole prefix for every token; its time is integrated over "
        f"steps at 4 lengths of the prefix. At {rows[0].tokens} tokens that gives {found} of the whole loop's time."
    )


def roofline(bench: Bench, batch: int, seconds: dict[Any, list[float]]) -> Table:
    """What a step must move and compute, what this machine can, and the share of it that was reached."""
    settings = bench.settings
    rows = bench.equal(batch, settings.equal_tokens)
    table = Table(f"Roofline, {batch} rows",
                  ["decoder", "MB a step", "MFLOP a step", "copying GB/s", "products GFLOP/s", "floor, ms a step",
                   "measured, ms a step", "reached"])  # fmt: skip
    for name in bench.own:
        size = step_size(bench, batch, rows[0].tokens / 2, name)
        bandwidth = copy_bandwidth(size.bytes, settings.device, bench.clock)
        products = product_rate(name, 1024, settings.device, bench.clock)
        floor, measured = size.floor(bandwidth, products), median(seconds[f"ours, {name}"]) / rows[0].tokens
        cells = [size.bytes / 1e6, size.flops / 1e6, bandwidth / 1e9, products / 1e9, 1000 * floor, 1000 * measured]
        table.rows.append([f"ours, {name}", *cells, f"{floor / measured:.0%}"])
    table.notes = [
        "A step reads all weights of the decoder once and each row's keys and values (self: the mean over the steps; "
        "cross: all memory frames); activations are left out. floor: the larger of bytes / bandwidth and flops / rate.",
        "measured: a whole decoding divided by its steps, so with its share of projecting the memory at the beginning.",
        "copying: a copy to and fro of as many bytes as a step moves, so from the same level of the cache. products: "
        "matrices of 1024 x 1024 through our own layers at that precision.",
    ]
    return table


def step_size(bench: Bench, batch: int, cached: float, precision: str) -> StepSize:
    sizes = bench.part.config.decoder
    layers = sizes.num_layers, sizes.width, sizes.ffn_width, bench.part.vocab.size
    return StepSize(*layers, bench.settings.equal_memory, cached, batch, *BYTES[precision])


def samplers(bench: Bench) -> Table:
    """The share of rules and choice in a step, greedy and sampled."""
    batch = max(bench.settings.batches)
    rows = bench.equal(batch, bench.settings.equal_tokens)
    table = Table(f"Share of rules, noise and choice in a decoding of {batch} rows", ["decoder", "greedy", "sampled"])
    for name, own in bench.own.items():
        cells = [sampler_share(bench, own, rows, options) for options in (EXACT, SAMPLED)]
        table.rows.append([f"ours, {name}", *cells])
    table.notes = [
        "Time of a decoding whose network is a constant, divided by that of a whole one.",
        "sampled: temperature 0.8, top-k 50, top-p 0.9; loops are blocked in both.",
    ]
    return table


def sampler_share(bench: Bench, own: Own, rows: Sequence[Utterance], options: DecodeOptions) -> str:
    """Share of a decoding that would be left if the network took no time."""
    runs = {"all": lambda: own.decode(rows, options), "choice": lambda: own.choose_only(rows, options)}
    contenders = {name: Contender(run, warm=run) for name, run in runs.items()}
    seconds = interleave(contenders, bench.settings.rounds, bench.clock)
    return f"{ratio(seconds['choice'], seconds['all']).median:.1%}"
