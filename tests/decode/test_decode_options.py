import dataclasses
import re

import pytest

from codecsep.decode.options import ChunkOptions, DecodeOptions, GuidanceOptions, MaskedOptions, OptionError


@pytest.mark.parametrize(
    "options, words",
    [
        ({"strategy": "argmax"}, "strategy is 'argmax'; allowed: greedy, sample, beam"),
        ({"temperature": 0.9}, "temperature is 0.9, which does nothing with strategy 'greedy'"),
        ({"strategy": "sample", "temperature": 0.0}, "temperature is 0.0"),
        ({"strategy": "sample", "temperature": float("nan")}, "temperature is nan"),
        ({"strategy": "sample", "top_p": 0.0}, "top_p is 0.0"),
        ({"strategy": "sample", "top_k": -1}, "top_k is -1; it must be at least 0"),
        ({"num_speakers": 0}, "num_speakers is 0"),
        ({"max_speakers": 0}, "max_speakers is 0; it must be at least 1"),
        ({"loop_repeats": 0}, "loop_repeats is 0"),
        ({"loop_period": 1}, "loop_min_period 2 is above loop_period 1"),
        ({"length_rule": "oracle"}, "length_rule is 'oracle'; allowed: bound, exact"),
    ],
)
def test_bad_options_are_refused_in_words(options, words):
    with pytest.raises(OptionError, match=words.replace(".", r"\.")):
        DecodeOptions(**options)


def test_defaults_are_valid_and_frozen():
    options = DecodeOptions()
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.seed = 2
    assert options.speakers_limit == 3 and dataclasses.replace(options, num_speakers=5).speakers_limit == 5


@pytest.mark.parametrize(
    "kind, options, words",
    [
        (GuidanceOptions, {"weight": -1.0}, "weight is -1.0; it must be from 0 to 100"),
        (GuidanceOptions, {"rescale": 1.5}, "rescale is 1.5; it must be from 0 to 1"),
        (GuidanceOptions, {"weight": float("nan")}, "weight is nan"),
        (MaskedOptions, {"steps": ()}, "steps is []; every level needs at least 1"),
        (MaskedOptions, {"steps": (25, 0)}, "steps is [25, 0]"),
        (MaskedOptions, {"schedule": "cos"}, "schedule is 'cos'; allowed: sine, cosine, linear"),
        (MaskedOptions, {"top_share": 0.0}, "top_share is 0.0"),
        (MaskedOptions, {"confidence_noise": -0.1}, "confidence_noise is -0.1"),
        (MaskedOptions, {"seed": -1}, "seed is -1"),
        (ChunkOptions, {"temperature": 0.0}, "temperature is 0.0; it must be above 0"),
        (ChunkOptions, {"top_p": 1.2}, "top_p is 1.2; it must be from 0 to 1"),
        (ChunkOptions, {"top_k": 3}, "top_k 3 and top_p 0.3 exclude each other"),
    ],
)
def test_bad_options_of_the_other_ways(kind, options, words):
    kind()
    with pytest.raises(OptionError, match=re.escape(words)):
        kind(**options)
