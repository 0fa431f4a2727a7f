"""A disk that fills up in the middle of a stage: what was there is kept, the error says so, the same command ends."""

import re

import pytest
from nano import STAGES, difference, hashes, leftovers

# No file may grow beyond so many bytes, root or not: a write fails as on a full disk.
LIMIT = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0}))"
SMALLEST = {0: 8000, 1: 8000, 2: 1500, 3: 1500, 4: 8000, 5: 8000, 6: 8000, 7: 8000}
FULL = re.compile(r": (E320|E41\d) .+ MiB are free \(fix: .+\)")
FORCED = (1, 2, 3, 6, 7)  # stages with --force


@pytest.mark.parametrize("stage", STAGES)
def test_a_limit_on_file_sizes(nano, tmp_path, stage):
    place = nano.copy(stage, tmp_path / "recipe")
    outcome = nano.run(place, stage, NURSERY_BEFORE=LIMIT.format(SMALLEST[stage]))
    assert outcome.status > 0 and FULL.search(outcome.text), outcome.text[-2000:]
    made = difference(hashes(nano.before(stage)), hashes(place))
    assert not [name for name in made if not name.startswith("extra:")], made  # earlier stages' files are as they were
    again = nano.run(place, stage)
    assert not any(again.statuses), again.text[-2000:]
    assert difference(hashes(nano.before(stage + 1)), hashes(place)) + leftovers(place) == []


@pytest.mark.parametrize("stage", FORCED)
@pytest.mark.parametrize("where", [0.0, 0.6])
def test_what_was_finished_before_stays_when_it_is_made_anew(nano, tmp_path, stage, where):
    place = nano.copy(stage + 1, tmp_path / "recipe")
    before, log = hashes(place), tmp_path / "log"
    words, count = nano.commands[stage][0], nano.passed[stage][0]["atomic.before_rename"]
    if stage == 7:
        count //= 2  # of a first run; --force keeps what the codec has made
    fault = f"atomic.before_rename@{1 + int(where * count)}:raise:ENOSPC"
    assert nano.command(place, [*words, "--force"], fault, log) == 2
    assert re.search(r"E320 .*No space left.* MiB are free \(fix: free some space", log.read_text())
    lost = [name for name in difference(before, hashes(place)) if not name.startswith("extra:")]
    # marks of being done, and scores that --force gives up first
    assert all(re.search(r"\.done$|/kept/|\.parts/", name) for name in lost), lost
    again = nano.run(place, stage)
    assert not any(again.statuses), again.text[-2000:]
    assert difference(before, hashes(place)) + leftovers(place) == []
