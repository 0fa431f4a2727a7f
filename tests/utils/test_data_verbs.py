"""fix, copy, subset, combine and split of data directories with several sources, in any place, under any locale."""

import hashlib
import os
import subprocess
import sys

import pytest
from places import ROOT

from codecsep.data.datadir import DataDir, read_table

ODD = "a b, [1]:é"  # a recipe may lie in a folder of such a name
PLACES = {"plain": {}, "C": {"LC_ALL": "C"}, "POSIX": {"LC_ALL": "POSIX"}, "UTF-8": {"LC_ALL": "C.UTF-8"}}
PLACES |= {"optimised": {"PYTHONOPTIMIZE": "1"}, "coercion off": {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}}


def keys(folder, name="wav.scp"):
    return list(read_table(folder / name))


def edit(path, change):
    path.write_text(change(path.read_text()))


def without(key):
    return lambda text: "".join(line + "\n" for line in text.splitlines() if line.split()[0] != key)


def digest(folder):
    """SHA-256 over names and contents of all files below a folder, those of .backup included."""
    result = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            result.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return result.hexdigest()


COMMANDS = {
    "fix": ["fix_data_dir.sh", "{d}"],
    "copy": ["copy_data_dir.sh", "--utt-prefix", "p-", "--spk-prefix", "p-", "{d}", "{o}"],
    "subset": ["subset_data_dir.sh", "{d}", "3", "{o}"],
    "combine": ["combine_data.sh", "{o}", "{d}"],
    "split": ["split_data.sh", "{d}", "2"],
    "perturb": ["perturb_data_dir_speed.sh", "0.9", "{d}", "{o}"],
    "validate": ["validate_data_dir.sh", "{d}"],
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_same_result_under_every_locale_and_umask(tmp_path, verb, make_dir, command):
    make_dir(f"{ODD}/d")
    found = set()
    for place, environment in PLACES.items():
        work = tmp_path / place / ODD
        work.parent.mkdir()
        subprocess.run(["cp", "-r", tmp_path / ODD, work], check=True)
        (work.parent / f"audio of {ODD}").symlink_to(tmp_path / f"audio of {ODD}")
        words = [word.format(d=f"{ODD}/d", o=f"{ODD}/out x") for word in command]
        mask = os.umask(0o077 if place == "plain" else 0o022)
        result = verb(*words, cwd=work.parent, **environment)
        os.umask(mask)
        assert result.returncode == 0 and result.stderr == "", result.stderr
        found.add((digest(work), result.stdout))
    assert len(found) == 1


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_through_a_link_and_from_elsewhere(tmp_path, verb, make_dir, command):
    """Recipes hold a link named utils; a CDPATH and a foreign working directory change nothing."""
    make_dir("d")
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe/utils").symlink_to(ROOT / "utils")
    words = [word.format(d="d", o="o") for word in command]
    result = subprocess.run(
        ["bash", "recipe/utils/" + words[0], *words[1:]],
        cwd=tmp_path,
        env={**os.environ, "CDPATH": f"{tmp_path}:/", "python": sys.executable},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr


def test_fix_repairs_and_says_what(tmp_path, verb, make_dir):
    folder = make_dir("d", ids=20)
    order = keys(folder)
    edit(folder / "wav.scp", lambda t: "\n".join(reversed(t.splitlines())))  # not sorted, and no end
    edit(folder / "text_spk2", lambda t: "\n" + t.replace(" слово 3 ", "\tслово\t3 ") + f"{order[0]} again\n")
    edit(folder / "spk2.scp", without(order[5]))
    edit(folder / "utt2lang_spk1", lambda t: t + "zz fr\n")
    (folder / "spk2gender").write_text("ä0 f\nä1 m\nx m\n")
    (folder / "notes.txt").write_text("hello world\n")
    result = verb("fix_data_dir.sh", "d")
    assert result.returncode == 0
    assert result.stdout.startswith("d: kept 19 of 20 utterances; ")
    told = result.stderr.splitlines()
    for line in (
        "wav.scp: the last line had no end",
        "wav.scp: was not sorted by bytes",
        "text_spk2: blank line (1, first line 1)",
        f"text_spk2: double id (1, first {order[0]})",
        f"spk2.scp lacks 1 utterances, first {order[5]}",
        "utt2lang_spk1 alone has 1 utterances, first zz",
    ):
        assert f"fix_data_dir.sh: {line}" in told
    for name in ("wav.scp", "spk1.scp", "spk2.scp", "text_spk1", "text_spk2", "sot_order", "utt2lang_spk1", "utt2spk"):
        assert keys(folder, name) == [key for key in order if key != order[5]], name
    assert "слово 3 été" in (folder / "text_spk2").read_text() and "again" not in (folder / "text_spk2").read_text()
    assert (folder / "spk2gender").read_text() == "ä0 f\nä1 m\n"
    assert (folder / "notes.txt").read_text() == "hello world\n"
    assert "again" in (folder / ".backup/text_spk2").read_text() and not (folder / ".backup/notes.txt").exists()
    DataDir(folder).validate()
    before = digest(folder)
    again = verb("fix_data_dir.sh", "d")
    assert (again.stdout, again.stderr) == ("d: kept 19 of 19 utterances; 0 files were changed\n", "")
    assert digest(folder) == before


def test_fix_drops_many_only_when_told(verb, refused, make_dir):
    folder = make_dir("d", ids=10)
    order = keys(folder)
    edit(folder / "spk1.scp", lambda t: "".join(t.splitlines(keepends=True)[:8]))
    before = digest(folder)
    result = verb("fix_data_dir.sh", "d")
    assert refused(result) == "E137" and f"spk1.scp lacks 2 utterances, first {order[8]}, {order[9]}" in result.stderr
    assert digest(folder) == before
    assert verb("fix_data_dir.sh", "--max-drop", "20", "d").returncode == 0
    edit(folder / "spk1.scp", lambda t: t.splitlines(keepends=True)[0])
    assert refused(verb("fix_data_dir.sh", "d")) == "E137"
    assert verb("fix_data_dir.sh", "--force", "d").stdout.startswith("d: kept 1 of 8 ")
    edit(folder / "spk1.scp", lambda t: "zz x\n")
    assert refused(verb("fix_data_dir.sh", "--force", "d")) == "E137"


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("wav.scp", b"\xff\xfe x\n", "E105"),
        ("wav.scp", b"../../x y\n", "E104"),
        ("text_spk1", b"-rf y\n", "E104"),
        ("utt2spk", None, "E106"),
    ],
)
def test_fix_changes_nothing_when_it_cannot(verb, refused, make_dir, name, content, code):
    folder = make_dir("d")
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    before = digest(folder)
    assert refused(verb("fix_data_dir.sh", "--force", "d")) == code
    assert digest(folder) == before


def test_fix_with_lists_of_the_user(verb, make_dir):
    folder = make_dir("d", ids=10)
    order = keys(folder)
    (folder / "rooms").write_text(f"{order[0]} r1\n")  # most of its ids are utterances, but it need not be complete
    assert verb("fix_data_dir.sh", "d").stdout.startswith("d: kept 10 of 10 ")
    result = verb("fix_data_dir.sh", "--force", "--utt-extra-files", "rooms", "d")
    assert result.stdout.startswith("d: kept 1 of 10 ") and keys(folder) == [order[0]]
    folder = make_dir("e", ids=10)
    (folder / "spk2age").write_text("ä0 30\n")
    assert verb("fix_data_dir.sh", "--force", "--spk_extra_files", "spk2age", "e").stdout.startswith("e: kept 5 of 10 ")


@pytest.mark.parametrize("point", ["atomic.mid", "atomic.before_rename", "atomic.after_rename"])
@pytest.mark.parametrize("command", ["fix", "copy", "split", "combine"])
def test_killed_and_run_again(verb, tmp_path, make_dir, command, point):
    folder = make_dir("d", ids=10)
    edit(folder / "spk2.scp", lambda t: "".join(reversed(t.splitlines(keepends=True))) if command == "fix" else t)
    words = [word.format(d="d", o="o") for word in COMMANDS[command]]
    killed = verb(*words, CODECSEP_FAULT=f"{point}@3:kill")
    assert killed.returncode == -9
    if command != "fix":
        assert not [path for path in (tmp_path / "o", folder / "split2") if path.exists()]
    assert verb(*words).returncode == 0
    made = {"fix": folder, "split": folder / "split2"}.get(command, tmp_path / "o")
    assert not [path.name for path in made.rglob("*") if path.name.endswith(".tmp")]
    assert DataDir(made if command != "split" else made / "1").problems() == []


def test_copy_carries_every_list(verb, tmp_path, make_dir):
    folder = make_dir("d", speakers=3)
    (folder / "rooms").write_text("".join(f"{key} r\n" for key in keys(folder)))
    (folder / "options.json").write_text('{\n "layout": 1\n}\n')
    (folder / "manifest.json").write_text("{}")
    (folder / ".done").write_text("x")
    result = verb("copy_data_dir.sh", "--utt-prefix", "q-", "--utt_suffix", "-n", "--spk-prefix=q-", "d", "o")
    assert (result.stdout, result.stderr) == ("o: 4 utterances of 2 speakers\n", "")
    out = tmp_path / "o"
    tables = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {"manifest.json"}
    assert {path.name for path in out.iterdir()} == tables
    for name in tables - {"spk2utt", "options.json", "utt2spk"}:
        renamed = {f"q-{key}-n": value for key, value in read_table(folder / name).items()}
        assert read_table(out / name) == renamed, name
    assert read_table(out / "utt2spk") == {f"q-{k}-n": f"q-{v}" for k, v in read_table(folder / "utt2spk").items()}
    assert (out / "options.json").read_text() == (folder / "options.json").read_text()
    DataDir(out).validate()


def test_copy_sorts_again_and_checks(verb, refused, tmp_path, make_dir):
    folder = make_dir("d")
    before = keys(folder)
    edit(folder / "utt2spk", lambda t: "".join(f"{key} s{i % 2}\n" for i, key in enumerate(before)))
    verb("fix_data_dir.sh", "--no-spk-sort", "d")
    result = verb("copy_data_dir.sh", "d", "o")
    assert refused(result) == "E102" and "--no-spk-sort" in result.stderr
    assert verb("copy_data_dir.sh", "--validate-opts", "--no-spk-sort", "d", "o").returncode == 0
    edit(folder / "spk2.scp", without(before[1]))
    result = verb("copy_data_dir.sh", "--validate-opts=--no-spk-sort", "d", "o")
    assert (
        refused(result) == "E103" and f"lacks 1 ({before[1]})" in result.stderr and "fix_data_dir.sh d" in result.stderr
    )
    assert refused(verb("copy_data_dir.sh", "--utt-prefix", "../", "d", "p")) in ("E103", "E104")
    assert not (tmp_path / "p").exists()


def test_nothing_but_a_data_directory_is_replaced(verb, refused, tmp_path, make_dir):
    make_dir("d")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    other = make_dir("other")
    (other / "wav").mkdir()
    (other / "wav/a.wav").write_text("sound")
    inside = make_dir("d/inner")
    for target in ("home", "file", "other", "d", ".", "d/../d", inside.parent):
        assert refused(verb("copy_data_dir.sh", "d" if target != inside.parent else "d/inner", target)) == "E136", (
            target
        )
        assert refused(verb("combine_data.sh", target, "d/inner", "d/inner")) == "E136", target
        assert refused(verb("subset_data_dir.sh", "--first", "d/inner", "1", target)) == "E136", target
    assert (tmp_path / "home/thesis.tex").exists() and (other / "wav/a.wav").exists()


def test_a_data_directory_is_replaced_and_its_own_files_kept(verb, tmp_path, make_dir):
    make_dir("d")
    out = make_dir("out", speakers=3)
    assert verb("split_data.sh", "out", "2").returncode == 0
    (out / "README").write_text("mine")
    (tmp_path / "link").symlink_to("out")
    assert verb("copy_data_dir.sh", "d", "link").returncode == 0
    assert (tmp_path / "link").is_symlink() and not (out / "split2").exists()
    assert DataDir(out).speakers() == ["spk1", "spk2"]
    assert {path.name for path in (out / ".backup").iterdir()} == {"README", "spk3.scp", "text_spk3"}


def test_subset_says_what_is_not_there(verb, refused, tmp_path, make_dir):
    folder = make_dir("d", ids=6)
    order = keys(folder)
    (tmp_path / "ids").write_text(f"{order[4]}\nzz\n{order[1]} x\n")
    result = verb("subset_data_dir.sh", "--utt-list", "ids", "d", "o")
    assert result.stderr == "subset_data_dir.sh: 1 ids of ids are not in d, first zz\n"
    assert keys(tmp_path / "o") == keys(tmp_path / "o", "text_spk2") == sorted([order[4], order[1]], key=str.encode)
    DataDir(tmp_path / "o").validate()
    (tmp_path / "ids").write_text("zz\n")
    result = verb("subset_data_dir.sh", "--spk-list", "ids", "d", "p")
    assert result.returncode == 1 and "E139" in result.stderr.splitlines()[-1] and not (tmp_path / "p").exists()
    assert refused(verb("subset_data_dir.sh", "--first", "--last", "d", "1", "p")) == "E131"
    assert refused(verb("subset_data_dir.sh", "--utt-list", "ids", "d", "1", "p")) == "E131"
    assert refused(verb("subset_data_dir.sh", "d", "p")) == "E131"
    assert refused(verb("subset_data_dir.sh", "d", "7", "p")) == "E139"
    assert refused(verb("subset_data_dir.sh", "d", "-1", "p")) == "E131"
    shortest = verb("subset_data_dir.sh", "--shortest", "d", "2", "p")
    assert shortest.returncode == 0 and sorted(read_table(tmp_path / "p/utt2num_samples").values()) == ["800", "810"]


def test_split_is_made_again_when_a_list_changes(verb, refused, make_dir):
    folder = make_dir("d", ids=6)
    assert verb("split_data.sh", "--per-utt", "d", "4").stdout == "d/split4utt: 6 utterances in 4 parts of 1 to 2\n"
    parts = [keys(folder / f"split4utt/{k}", "spk2.scp") for k in (1, 2, 3, 4)]
    assert [key for part in parts for key in part] == keys(folder) and list(map(len, parts)) == [2, 2, 1, 1]
    assert all(DataDir(folder / f"split4utt/{k}").problems() == [] for k in (1, 2, 3, 4))
    os.utime(folder / "text_spk1")
    assert verb("split_data.sh", "--per-utt", "d", "4").stdout == "d/split4utt: up to date\n"
    edit(folder / "text_spk1", lambda t: t.replace("слово", "word"))
    assert "4 parts" in verb("split_data.sh", "--per-utt", "d", "4").stdout
    assert "word 0" in (folder / "split4utt/1/text_spk1").read_text()
    assert refused(verb("split_data.sh", "d", "3")) == "E134" and not (folder / "split3").exists()
    assert refused(verb("split_data.sh", "d", "0")) == "E131"


def test_combine_says_what_is_left_out(verb, refused, tmp_path, make_dir):
    make_dir("a")
    verb("copy_data_dir.sh", "--utt-prefix", "z", "--spk-prefix", "z", "a", "b")
    (tmp_path / "b/utt2lang_spk1").unlink()
    (tmp_path / "a/options.json").write_text("{\n}\n")
    result = verb("combine_data.sh", "--extra-files", "nowhere", "c", "a", "b")
    assert result.stdout == "c: 8 utterances of 4 speakers\n"
    assert result.stderr.splitlines() == [
        "combine_data.sh: options.json is left out: not all directories have it",
        "combine_data.sh: utt2lang_spk1 is left out: not all directories have it",
        "combine_data.sh: nowhere is left out: no directory has it",
    ]
    DataDir(tmp_path / "c").validate()
    assert verb("combine_data.sh", "twice", "a", "a").stdout == "twice: 4 utterances of 2 speakers\n"
    make_dir("three", speakers=3)
    result = verb("combine_data.sh", "c", "b", "three")
    assert refused(result) == "E138" and "spk3.scp" in result.stderr
    edit(tmp_path / "b/spk1.scp", without("zä0-000"))
    assert refused(verb("combine_data.sh", "d", "b", "a")) == "E137"
    result = verb("combine_data.sh", "--skip-fix", "true", "d", "b", "a")
    assert result.returncode == 0 and len(keys(tmp_path / "d")) == 8 and len(keys(tmp_path / "d", "spk1.scp")) == 7
    assert refused(verb("combine_data.sh", "--skip-fix", "yes", "d", "b", "a")) == "E131"


def test_spk2_scp_is_no_list_of_speakers(verb, tmp_path, make_dir):
    """Its name begins like spk2utt and spk2gender."""
    make_dir("d")
    verb("copy_data_dir.sh", "--utt-prefix", "x", "--spk-prefix", "x", "d", "o")
    assert keys(tmp_path / "o", "spk2.scp") == keys(tmp_path / "o", "spk1.scp")
