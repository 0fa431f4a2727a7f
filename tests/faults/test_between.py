"""What happens between stages: run twice (G2), inputs changed (G3), stages left out (G11), artefacts damaged, X8."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from nano import STAGES, difference, hashes, leftovers

ERROR = re.compile(r"(codecsep-)?[a-z_ .]+: E\d{3} .+ \(fix: .+\)")
LEFT_OUT = [(2, 1), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (4, 2), (6, 4), (2, 0)]  # stage, missing one


@dataclass(frozen=True)
class Harm:
    """A file that a stage has made, what is done to it, and the later stage that reads it."""

    made_by: int
    path: str
    how: str
    read_by: int


HARMS = [
    Harm(0, "data/test/wav.scp", "edited", 6),
    Harm(0, "data/train/sot_order", "edited", 3),
    Harm(0, "data/dev/spk1.scp", "shortened", 2),
    Harm(0, "data/test/manifest.json", "edited", 6),
    Harm(0, "data/test/wav/mix/*.wav", "cut", 6),
    Harm(1, "exp/codec/mini.safetensors", "flipped", 2),
    Harm(1, "exp/codec/codec.json", "edited", 2),
    Harm(2, "dump/train/spk1_codes.ark", "flipped", 3),
    Harm(2, "dump/dev/spk2_codes.scp", "shortened", 3),
    Harm(2, "dump/train_sources/codes.ark", "cut", 4),
    Harm(3, "dump/dev/seq.ark", "flipped", 4),
    Harm(3, "dump/dev/seq.scp", "shortened", 4),
    Harm(4, "exp/ar/best.safetensors", "flipped", 5),
    Harm(4, "exp/pit/best.safetensors", "cut", 6),
    Harm(5, "exp/nar/best.safetensors", "flipped", 6),
    Harm(5, "exp/nar/manifest.json", "edited", 6),
    Harm(6, "exp/decode/slm_ss_seed1/test/wav/*_spk1.wav", "flipped", 7),
    Harm(6, "exp/decode/pit/test/wav/*_spk2.wav", "cut", 7),
    Harm(6, "exp/decode/pit/test/spk2.scp", "shortened", 7),
]


def do_harm(place: Path, harm: Harm) -> Path:
    """Damage the file; which one it was, as the recipe names it."""
    path = sorted((place / "slm_ss").glob(harm.path))[0]
    data = path.read_bytes()
    if harm.how == "flipped":
        middle = len(data) // 2
        path.write_bytes(data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :])
    elif harm.how == "cut":
        path.write_bytes(data[: len(data) * 2 // 3])
    elif harm.how == "shortened":
        path.write_bytes(b"".join(data.splitlines(keepends=True)[:-1]))
    else:
        path.write_bytes(data.replace(b"1", b"2", 1))
    assert path.read_bytes() != data
    return path.relative_to(place / "slm_ss")


@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: f"{harm.path}-{harm.how}-{harm.read_by}")
def test_a_damaged_file_is_refused_by_the_stage_that_reads_it_and_mended_by_the_one_that_made_it(nano, tmp_path, harm):
    place = nano.copy(harm.read_by, tmp_path / "recipe")
    path = do_harm(place, harm)
    outcome = nano.run(place, harm.read_by)
    assert outcome.status == 2 and str(path) in last_error(outcome), outcome.text
    mended = nano.run(place, harm.made_by)
    assert not any(mended.statuses), mended.text[-2000:]
    found = difference(hashes(nano.before(harm.read_by)), hashes(place)) + leftovers(place)
    if len(outcome.statuses) > 1:  # a command before the one that refused has made something
        found = [name for name in found if not name.startswith("extra:")]
    assert found == []


def test_a_training_that_was_refused_for_damaged_data_runs_once_they_are_mended(nano, tmp_path):
    place = nano.copy(4, tmp_path / "recipe")
    do_harm(place, Harm(3, "dump/dev/seq.scp", "shortened", 4))
    assert nano.run(place, 4).status == 2
    assert not any(nano.run(place, 3).statuses)
    assert not any(nano.run(place, 4).statuses)
    assert difference(hashes(nano.before(5)), hashes(place)) == []


def last_error(outcome) -> str:
    """The line of the command that failed; it has the form that every error has."""
    line = [line for line in outcome.text.splitlines() if ": E" in line][-1]
    assert ERROR.fullmatch(line), line
    return line


@pytest.mark.parametrize("stage", STAGES)
def test_g2_a_stage_run_twice_says_so_and_changes_nothing(nano, tmp_path, stage):
    place = nano.copy(stage + 1, tmp_path / "recipe")
    times = {path: path.stat().st_mtime_ns for path in place.rglob("*") if path.is_file() and path.suffix != ".stamps"}
    outcome = nano.run(place, stage)
    assert not any(outcome.statuses), outcome.text
    said = [line for line in outcome.text.splitlines() if re.search("up to date|already|nothing to do", line)]
    assert len(said) >= len([words for words in nano.commands[stage] if "validate" not in words[0]]), outcome.text
    assert hashes(place) == hashes(nano.before(stage + 1)) and leftovers(place) == []
    changed = {path.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert not {name for name in changed if "lock" not in name and "stamps" not in name and "log" not in name}


@pytest.mark.parametrize(("stage", "left_out"), LEFT_OUT)
def test_g11_a_stage_that_was_left_out_is_named(nano, tmp_path, stage, left_out):
    place = nano.copy(left_out, tmp_path / "recipe")
    for between in range(left_out + 1, stage):
        if between in (1, 3) or (between == 5 and left_out != 4):
            nano.run(place, between)  # what can be done without the one that is left out
    outcome = nano.run(place, stage)
    assert outcome.status == 2
    named = re.findall(r"--stage (\d)", last_error(outcome).partition("(fix: ")[2])
    assert str(left_out) in named or (named and min(map(int, named)) < stage), outcome.text


def test_x8_no_stage_wants_the_network(nano):
    assert [address for address in nano.asked if not re.search(r"127\.0\.0\.1|::1|localhost|/", address)] == []
