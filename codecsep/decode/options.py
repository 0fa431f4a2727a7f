"""How to decode: one frozen dataclass, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass

from codecsep.errors import CodecsepError

STRATEGIES = ("greedy", "sample", "beam")
LENGTH_RULES = ("bound", "exact")
LEVEL_CHOICES = ("argmax", "mean")


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


def _check_choices(options: DecodeOptions) -> None:
    for name, allowed in (("strategy", STRATEGIES), ("length_rule", LENGTH_RULES), ("level_choice", LEVEL_CHOICES)):
        value = getattr(options, name)
        if value not in allowed:
            raise refused(f"{name} is {value!r}; allowed: {', '.join(allowed)}", f"set {name} to one of them")


def _check_ranges(options: DecodeOptions) -> None:
    lowest = {
        "top_k": 0, "beam_size": 1, "loop_period": 0, "loop_repeats": 1, "loop_min_period": 1,
        "max_speakers": 1, "length_slack": 0, "min_frames": 1, "num_levels": 0, "leave_every": 1, "seed": 0,
    }  # fmt: skip
    for name, low in lowest.items():
        value = getattr(options, name)
        if value < low:
            raise refused(f"{name} is {value}; it must be at least {low}", f"set {name} to {low} or more")
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
