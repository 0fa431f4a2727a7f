"""How to decode: frozen dataclasses, checked when they are made.

`DecodeOptions` is for one token after the other; `MaskedOptions`, `ChunkOptions` and `GuidanceOptions` are for the
other ways of choosing, of the models that use them.
"""

from __future__ import annotations

from dataclasses import dataclass

from codecsep.errors import CodecsepError

STRATEGIES = ("greedy", "sample", "beam")
LENGTH_RULES = ("bound", "exact")
LEVEL_CHOICES = ("argmax", "mean")
SCHEDULES = ("sine", "cosine", "linear")


class OptionError(CodecsepError):
    """A decoding option is out of range, or two of them contradict each other."""


def refused(what: str, fix: str) -> OptionError:
    """The error of one option."""
    return OptionError("E530", what, "decoding options", fix)


@dataclass(frozen=True)
class DecodeOptions:
    """Options of the autoregressive decoder.

    SLM-SS (arXiv 2601.19533) names beam search at temperature 1.0 with blank suppression and N-gram blocking; beam
    width, N, length penalty and length bounds are not printed there and are decided here.

    Raises:
        OptionError: a value is out of range or has no effect with the chosen strategy.
    """

    strategy: str = "greedy"  # greedy | sample | beam
    temperature: float = 1.0  # sample only: logits are divided by it
    top_k: int = 0  # sample only: choose among the k best; 0 = all
    top_p: float = 1.0  # sample only: choose among the fewest tokens that hold this probability; 1 = all
    beam_size: int = 5  # beam only
    length_penalty: float = 1.0  # beam only: score = log-probability / tokens ** length_penalty
    loop_period: int = 12  # N: the longest loop, in frames, that is looked for; 0 = loop blocking off
    loop_repeats: int = 2  # k: a block may follow itself k times, the next repeat is forbidden
    loop_min_period: int = 2  # 2: a held token (silence, a long vowel) is never blocked; 1: it is
    num_speakers: int | None = None  # exactly so many speakers; None: 1..max_speakers, the model decides
    max_speakers: int = 3
    length_rule: str = "bound"  # bound: at most the mixture's frames + slack; exact: just as many ("oracle length")
    length_slack: int = 2  # frames that a speaker may exceed the mixture's frames by (bound only)
    min_frames: int = 1  # fewest frames per speaker
    num_levels: int = 0  # codebooks to fill in, from the lowest; 0 = all (SLM-SS, figure 2, truncates so)
    level_choice: str = "argmax"  # argmax (the paper) | mean: the code nearest to the expected code vector (ours)
    leave_every: int = 1  # steps between two looks at which rows have ended; more saves waiting for a GPU
    seed: int = 1  # sample only

    def __post_init__(self) -> None:
        _check_choices(self)
        _check_ranges(self)
        _check_effects(self)

    @property
    def speakers_limit(self) -> int:
        """The largest number of speakers that a sequence may hold."""
        return self.max_speakers if self.num_speakers is None else self.num_speakers


@dataclass(frozen=True)
class GuidanceOptions:
    """Classifier-free guidance: logits = c + weight * (c - u), c with the condition, u without (Ho & Salimans 2022).

    SepALM (arXiv 2505.03273) drops its prompt with probability 0.1 for it and prints no weight; MaskGCT, which it
    cites, uses 2.5 with a rescaling of 0.75. A "scale" s that multiplies (c - u) onto u is weight = s - 1.

    Raises:
        OptionError: a value is out of range.
    """

    weight: float = 0.0  # 0: the conditional network, exactly
    rescale: float = 0.0  # share of the result whose spread over the vocabulary is brought back to that of c

    def __post_init__(self) -> None:
        _check_between("weight", self.weight, 0.0, 100.0)
        _check_between("rescale", self.rescale, 0.0, 1.0)


@dataclass(frozen=True)
class MaskedOptions:
    """Masked iterative decoding. SepALM prints 25 steps; their split and the other values are MaskGCT's.

    Raises:
        OptionError: a value is out of range.
    """

    steps: tuple[int, ...] = (25, 10, 1)  # of level 0, 1, ...; the last number is for all further levels
    schedule: str = "sine"  # sine | cosine (SoundStorm's name, the same curve) | linear
    temperature: float = 1.5  # of the first step, falling to 0; the last step takes the best code; 0: all do
    single_temperature: float = 0.2  # of a level with one step; 0: the best code
    top_share: float = 0.02  # share of the codebook that stays in the choice; 1: all
    confidence_noise: float = 1.0  # Gumbel noise on the confidence, in its first step, falling to 0; 0: none
    seed: int = 1

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 1:
            raise refused(f"steps is {list(self.steps)}; every level needs at least 1", "set steps to e.g. [25, 10, 1]")
        _check_choice("schedule", self.schedule, SCHEDULES)
        for name in ("temperature", "single_temperature", "confidence_noise"):
            _check_between(name, getattr(self, name), 0.0, 100.0)
        _check_at_least("seed", self.seed, 0)
        if not 0.0 < self.top_share <= 1.0:
            raise refused(f"top_share is {self.top_share}; it must be above 0, at most 1", "set it to 1 to keep all")


@dataclass(frozen=True)
class ChunkOptions:
    """Streaming chunk decoding; the defaults are those of WavSLM's evaluation (arXiv 2603.05299).

    Raises:
        OptionError: a value is out of range or has no effect.
    """

    temperature: float = 0.8
    top_p: float = 0.3  # 0: the best token (greedy); 1: all tokens
    top_k: int = 0  # instead of top_p (which is then 1); 0: off
    seed: int = 1

    def __post_init__(self) -> None:
        _check_between("top_p", self.top_p, 0.0, 1.0)
        _check_at_least("top_k", self.top_k, 0)
        _check_at_least("seed", self.seed, 0)
        if not 0.0 < self.temperature < float("inf"):
            raise refused(f"temperature is {self.temperature}; it must be above 0", "for none, top_p: 0")
        if self.top_k and self.top_p < 1.0:
            raise refused(f"top_k {self.top_k} and top_p {self.top_p} exclude each other", "set top_p to 1 for top_k")


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise refused(f"{name} is {value!r}; allowed: {', '.join(allowed)}", f"set {name} to one of them")


def _check_at_least(name: str, value: int, low: int) -> None:
    if value < low:
        raise refused(f"{name} is {value}; it must be at least {low}", f"set {name} to {low} or more")


def _check_between(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise refused(f"{name} is {value}; it must be from {low:g} to {high:g}", f"set {name} to such a value")


def _check_choices(options: DecodeOptions) -> None:
    for name, allowed in (("strategy", STRATEGIES), ("length_rule", LENGTH_RULES), ("level_choice", LEVEL_CHOICES)):
        _check_choice(name, getattr(options, name), allowed)


def _check_ranges(options: DecodeOptions) -> None:
    lowest = {
        "top_k": 0, "beam_size": 1, "loop_period": 0, "loop_repeats": 1, "loop_min_period": 1,
        "max_speakers": 1, "length_slack": 0, "min_frames": 1, "num_levels": 0, "leave_every": 1, "seed": 0,
    }  # fmt: skip
    for name, low in lowest.items():
        _check_at_least(name, getattr(options, name), low)
    if options.num_speakers is not None and options.num_speakers < 1:
        raise refused(f"num_speakers is {options.num_speakers}; it must be at least 1", "set it, or leave it out")
    if not 0.0 < options.temperature < float("inf"):
        raise refused(f"temperature is {options.temperature}; it must be above 0", "for none, strategy: greedy")
    if not 0.0 < options.top_p <= 1.0:
        raise refused(f"top_p is {options.top_p}; it must be above 0 and at most 1", "set it to 1 to keep all tokens")
    if not 0.0 <= options.length_penalty < float("inf"):
        raise refused(f"length_penalty is {options.length_penalty}; it must be 0 or more", "set it to 1 for the mean")


def _check_effects(options: DecodeOptions) -> None:
    if options.strategy != "sample":
        for name, neutral in (("temperature", 1.0), ("top_k", 0), ("top_p", 1.0)):
            value = getattr(options, name)
            if value != neutral:
                raise refused(
                    f"{name} is {value}, which does nothing with strategy {options.strategy!r}",
                    f"use strategy: sample, or leave {name} at {neutral}",
                )
    if options.loop_period and options.loop_min_period > options.loop_period:
        raise refused(
            f"loop_min_period {options.loop_min_period} is above loop_period {options.loop_period}",
            "lower it, or switch loop blocking off with loop_period: 0",
        )
