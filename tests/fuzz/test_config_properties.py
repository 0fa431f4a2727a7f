"""What must hold for any configuration: it is read back, its differences are found, confusions name their key."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from targets import Inner, Settings
from tries import FEW, TRIES

from codecsep import config, plain_yaml
from codecsep.config import ConfigError

texts = st.text(st.characters(exclude_categories=["Cc", "Cs", "Cn", "Co"]), max_size=20)
rates = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, rate=rates, pair=st.tuples(rates, rates), kind=st.sampled_from(["constant", "cosine"]))
whole = st.integers(-(2**53), 2**53)
configurations = st.builds(
    Settings,
    name=texts,
    count=whole,
    limit=st.none() | whole,
    flag=st.booleans(),
    where=st.none() | st.from_regex(r"[a-z]{1,8}(/[a-z]{1,8}){0,2}", fullmatch=True).map(Path),
    inner=inners,
    many=st.lists(inners, max_size=3),
)


@FEW
@given(configurations)
def test_a_configuration_is_read_back(tmp_path, given_settings):
    (tmp_path / "a.yaml").write_text(config.dump(given_settings), encoding="utf-8", newline="")
    assert config.load(Settings, tmp_path / "a.yaml") == given_settings


@TRIES
@given(configurations, configurations)
def test_the_difference_of_two_configurations_is_empty_only_for_equal_ones(one, other):
    flat = [config.flatten(config.to_dict(each)) for each in (one, other)]
    differing = [key for key in flat[0].keys() | flat[1].keys() if flat[0].get(key) != flat[1].get(key)]
    assert (not differing) == (config.to_dict(one) == config.to_dict(other))
    assert (config.fingerprint(one) == config.fingerprint(other)) == (config.to_dict(one) == config.to_dict(other))


CONFUSED = {
    "name": [3, 1.5, True, None, [1], {"a": 1}],
    "count": [1.5, True, None, "three", [1], {"a": 1}, "1.0", 1e3],
    "limit": [1.5, True, "three", [1], {"a": 1}],
    "flag": [0, 1, 2.0, None, "maybe", [True]],
    "where": [3, 1.5, True, [1]],
    "inner": [3, "text", True, None, [1]],
    "inner.rate": ["fast", True, None, [1.0], {"a": 1}, "nan"],
    "inner.pair": [1.0, [1.0], [1.0, 2.0, 3.0], "x", None, True],
    "inner.kind": ["cosin", 1, True, None, ["cosine"]],
    "many": [3, "text", {"rate": 1.0}, [3], [[1]], [{"rate": "fast"}], None],
}


@pytest.mark.parametrize("key", CONFUSED)
def test_every_confusion_of_types_names_its_key(tmp_path, key):
    for value in CONFUSED[key]:
        values: dict = {}
        *sections, last = key.split(".")
        place = values
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = value
        (tmp_path / "a.yaml").write_text(plain_yaml.dump_yaml(values))
        with pytest.raises(ConfigError, match=rf"^E80[23] .*a\.yaml.*{last}.*\(fix: ") as caught:
            print(key, value, config.load(Settings, tmp_path / "a.yaml"))
        assert str(caught.value).isprintable()


def test_every_field_of_the_settings_is_tried():
    assert {key.split(".")[0] for key in CONFUSED} == {field.name for field in dataclasses.fields(Settings)}
