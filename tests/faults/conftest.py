"""One clean run of the nano recipe for all fault tests."""

import json
import shutil
import time

import pytest
from nano import CORPUS, ROOT, STAGES, Nano, make_corpus, record
from nursery import Nursery

# Every point that is passed is counted when some fault is asked for; this one never comes.
NO_FAULT = "manifest.after_done@99999:here"
# What a command passed, and where it wanted to connect to, goes into the file $NOTES when it ends.
NOTE = """
import json, os, socket
from codecsep import faults
asked = []
def note(name):
    plain = getattr(socket.socket, name)
    setattr(socket.socket, name, lambda self, address: (asked.append(repr(address)), plain(self, address))[1])
for name in ("connect", "connect_ex"):
    note(name)
lookup = socket.getaddrinfo
socket.getaddrinfo = lambda host, *rest, **more: (asked.append(repr(host)), lookup(host, *rest, **more))[1]
def leave(status, leave=os._exit):
    with open(os.environ["NOTES"], "w") as file:
        json.dump({"passed": faults._passed, "asked": asked}, file)
    leave(status)
os._exit = leave
"""


@pytest.fixture(scope="session")
def nano(tmp_path_factory):
    """The recipe, run once from beginning to end; `before(stage)` holds what there was before each stage."""
    folder = tmp_path_factory.mktemp("nano")
    recipe = Nano(Nursery(), record(folder / "recorded", make_corpus(folder / "corpus")), folder)
    (folder / "before0" / "slm_ss").mkdir(parents=True)
    shutil.copytree(ROOT / CORPUS / "slm_ss" / "conf", folder / "before0" / "slm_ss" / "conf")
    for stage in STAGES:
        place = recipe.copy(stage, recipe.before(stage + 1))
        recipe.passed[stage], recipe.durations[stage] = [], []
        for words in recipe.commands[stage]:
            began = time.monotonic()
            recipe.passed[stage].append(clean(recipe, place, words))
            recipe.durations[stage].append(time.monotonic() - began)
    yield recipe
    recipe.nursery.close()


def clean(recipe: Nano, place, words: list[str]) -> dict[str, int]:
    """Run one command of the clean run: the fault points that it passed."""
    log, notes = recipe.folder / "clean.log", recipe.folder / "notes.json"
    status = recipe.command(place, words, NO_FAULT, log, NURSERY_BEFORE=NOTE, NOTES=str(notes))
    assert status == 0, (words, log.read_text(errors="replace")[-3000:])
    noted = json.loads(notes.read_text())
    recipe.asked += noted["asked"]
    return noted["passed"]
