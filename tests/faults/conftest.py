"""One clean run of the nano recipe for all fault tests."""

import json
import shutil
import time

import pytest
from nano import CORPUS, ROOT, STAGES, Nano, make_corpus, record
from nursery import Nursery

# Every point that is passed is counted when some fault is asked for; this one never comes.
COUNT = """
import atexit, json, os
from codecsep import faults
def _write(): open(os.environ["PASSED"], "w").write(json.dumps(faults._passed))
os._exit, _exit = (lambda status: (_write(), _exit(status))), os._exit
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
        began = time.monotonic()
        counted = []
        for words in recipe.commands[stage]:
            counts = folder / "passed.json"
            variables = {"NURSERY_BEFORE": COUNT, "PASSED": str(counts)}
            status = recipe.command(place, words, "manifest.after_done@99999:here", folder / "clean.log", **variables)
            assert status == 0, (words, (folder / "clean.log").read_text()[-3000:])
            counted.append(json.loads(counts.read_text()))
        recipe.passed[stage], recipe.seconds[stage] = counted, time.monotonic() - began
    yield recipe
    recipe.nursery.close()
