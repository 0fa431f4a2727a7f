"""Stages 0 to 3 in any order, killed, damaged and run again: what is marked as done is whole, and the end is the same.

A machine of Hypothesis draws what happens. Its invariant: a folder with `.done` holds what its manifest says, save
where a file was damaged since, which the stage that made it then mends. At the end of every story all four stages are
run once more, and every file is as after a clean run.
"""

import re
import shutil
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from nano import difference, hashes, leftovers

from codecsep.data import manifest

LIGHT = range(4)
NAMES = {"": ".done", "seq": ".seq.done"}
MARK = re.compile(r"\.(?:(.+)\.)?done")


class Stages(RuleBasedStateMachine):
    """One story: a copy of the recipe before stage 0, and what has happened to it."""

    nano, folder, stories = None, None, 0

    @initialize()
    def begin(self):
        type(self).stories += 1
        self.place = self.nano.copy(0, self.folder / f"story{self.stories}")
        self.damaged: set[Path] = set()

    @rule(stage=st.sampled_from(LIGHT))
    def run(self, stage):
        """A stage whose inputs are there ends well; another one refuses, naming a code."""
        outcome = self.nano.run(self.place, stage)
        assert outcome.status in (0, 1, 2), outcome.text
        assert outcome.status == 0 or re.search(r": E\d{3} .+ \(fix: .+\)", outcome.text), outcome.text
        if outcome.status == 0:
            self.mended()

    @rule(stage=st.sampled_from(LIGHT), place=st.floats(0, 1), data=st.data())
    def kill(self, stage, place, data):
        """At a point that the clean run passes; it may not be passed now, when there is less to do."""
        command = data.draw(st.integers(0, len(self.nano.commands[stage]) - 1))
        points = self.nano.passed[stage][command]
        if points:
            point = data.draw(st.sampled_from(sorted(points)))
            fault = f"{point}@{1 + int(place * (points[point] - 1))}:kill"
            outcome = self.nano.run(self.place, stage, {command: fault})
            assert outcome.status in (0, 1, 2, -signal.SIGKILL), outcome.text

    @rule(data=st.data())
    def damage(self, data):
        """One byte of a file that a stage has made."""
        files = sorted(path for path in self.place.rglob("*") if is_output(path))
        if files:
            path = data.draw(st.sampled_from(files))
            content = bytearray(path.read_bytes())
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1
            path.write_bytes(content)
            self.damaged.add(path)

    def mended(self):
        """Forget the damage to what is now as in the clean run."""
        clean = hashes(self.nano.before(4))
        now = hashes(self.place)
        self.damaged = {path for path in self.damaged if clean.get(name := self.name(path)) != now.get(name)}

    def name(self, path):
        return f"/{path.relative_to(self.place)}"

    @invariant()
    def what_is_done_is_whole(self):
        if not hasattr(self, "place"):
            return
        for mark in self.place.rglob(".*done"):
            match = MARK.fullmatch(mark.name)
            found = manifest.problem(mark.parent, match[1] or "") if match else None
            if found:
                assert any(path.is_relative_to(mark.parent) for path in self.damaged), found

    def teardown(self):
        if not hasattr(self, "place"):
            return
        for stage in LIGHT:
            outcome = self.nano.run(self.place, stage)
            assert not any(outcome.statuses), outcome.text[-2000:]
        assert difference(hashes(self.nano.before(4)), hashes(self.place)) + leftovers(self.place) == []
        shutil.rmtree(self.place)


def is_output(path: Path) -> bool:
    """A file with content that a stage has made (not its settings, logs, locks and caches)."""
    made = {"data", "dump", "exp", "downloads"} & set(path.parts)
    return bool(made and path.is_file() and path.stat().st_size and path.suffix not in (".lock", ".stamps", ".log"))


@pytest.mark.parametrize(("stories", "steps"), [(2, 6), pytest.param(60, 12, marks=pytest.mark.long)])
def test_any_story_ends_as_the_clean_run(nano, tmp_path, stories, steps):
    Stages.nano, Stages.folder, Stages.stories = nano, tmp_path, 0
    chosen = settings(
        max_examples=stories,
        stateful_step_count=steps,
        derandomize=True,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Stages, settings=chosen)
    assert Stages.stories >= stories
