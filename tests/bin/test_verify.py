"""`verify`: one flipped byte in each kind of artefact is found, with its folder; what is whole is said to be."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toy_codec import SAMPLES, SMALL, build, flip, run

from codecsep.bin import get_codec, verify
from codecsep.data import audio, datadir, manifest
from codecsep.data.ark import TokenReader

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def recipe(tmp_path, codec, mixtures, small_model, monkeypatch, capsys):
    """A recipe directory after stages 0 to 3, with a checkpoint; the working directory."""
    monkeypatch.chdir(tmp_path)
    for table in ("wav.scp", "spk1.scp", "spk2.scp"):
        for path in list(datadir.read_table(mixtures / table).values()):
            place = mixtures / "wav" / table / Path(path).name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, place)
        rows = {key: mixtures / "wav" / table / f"train-{table}-{key}.wav" for key in SAMPLES}
        datadir.write_table(mixtures / table, rows)
    files = [path for path in mixtures.rglob("*") if path.is_file()]
    manifest.finish(mixtures, manifest.Work("0"), files, manifest.Counts(5, 5))
    assert run(tmp_path, mixtures, "--job", "1/2") == run(tmp_path, mixtures, "--job", "2/2") == 0
    assert build(tmp_path, SMALL) == 0
    assert get_codec.main(["--out", str(tmp_path / "exp/codec")]) == 0
    checkpoint = tmp_path / "exp/ar/checkpoints/step-000100"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(b"weights")
    noted = {"model.safetensors": manifest.describe(checkpoint / "model.safetensors")}
    text = json.dumps({"format": 2, "model": "slm_ss", "files": noted})
    (checkpoint / "manifest.json").write_text(text)
    (checkpoint / ".done").write_text(manifest.text_sha256(text) + "\n")
    capsys.readouterr()
    return tmp_path


def check(*folders: str) -> int:
    return verify.main([*(folders or ("data", "dump", "exp"))])


def test_what_is_whole(recipe, capsys):
    assert check() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [
        ["data/train", "whole"], ["dump/train", "whole"], ["exp/ar/checkpoints/step-000100", "whole"],
        ["exp/codec", "whole"],
    ]  # fmt: skip
    assert re.fullmatch(r"dump/train: whole: 5 made, 26 files, 0\.0 MiB", lines[1])


@pytest.mark.parametrize(
    ("path", "folder"),
    [
        ("data/train/wav/wav.scp/train-wav.scp-c.wav", "data/train"),
        ("data/train/wav/spk2.scp/train-spk2.scp-a.wav", "data/train"),
        ("data/train/sot_order", "data/train"),
        ("data/train/utt2num_samples", "data/train"),
        ("data/train/manifest.json", "data/train"),
        ("data/train/.done", "data/train"),
        ("dump/train/spk1_codes.1.ark", "dump/train"),
        ("dump/train/spk2_codes.2.crc", "dump/train"),
        ("dump/train/spk1_codes.scp", "dump/train"),
        ("dump/train/codec.json", "dump/train"),
        ("dump/train/utt2num_frames", "dump/train"),
        ("dump/train/shard.1of2.json", "dump/train"),
        ("dump/train/shard.2of2.manifest.json", "dump/train"),
        ("dump/train/seq.ark", "dump/train"),
        ("dump/train/utt2seq_len", "dump/train"),
        ("dump/train/token_list.txt", "dump/train"),
        ("dump/train/seq.manifest.json", "dump/train"),
        ("dump/train/.seq.done", "dump/train"),
        ("exp/codec/mini.safetensors", "exp/codec"),
        ("exp/codec/config.yaml", "exp/codec"),
        ("exp/codec/codec.json", "exp/codec"),
        ("exp/ar/checkpoints/step-000100/model.safetensors", "exp/ar/checkpoints/step-000100"),
        ("exp/ar/checkpoints/step-000100/manifest.json", "exp/ar/checkpoints/step-000100"),
        ("exp/ar/checkpoints/step-000100/.done", "exp/ar/checkpoints/step-000100"),
    ],
)
def test_one_flipped_bit_in_each_kind_of_file(recipe, capsys, path, folder):
    """Size and time of change stay as they were: nothing but the content tells."""
    flip(recipe / path)
    assert check() == 1
    bad = [line for line in capsys.readouterr().out.splitlines() if ": whole: " not in line]
    assert any(re.match(rf"E\d{{3}} {folder}\b", line) for line in bad), bad
    assert all(re.fullmatch(r"E\d{3} .+ \(fix: .+\)( \(and \d+ more\))?", line) for line in bad)


def vouch(folder: Path, name: str = "", **counts) -> None:
    """Write the manifest anew over what is there, as if a stage had made it so."""
    old = manifest.read(folder, name)
    files = [folder / file for file in old["outputs"]]
    job = manifest.Work(old["stage"], [Path(file) for file in old["inputs"]], old["values"], old["settings"])
    manifest.finish(folder, job, files, manifest.Counts(**{**old["counts"], **counts}), name)


def test_counts_are_checked(recipe, capsys):
    (recipe / "dump/train/skipped.tsv").write_text("x\t2\tE201\twhy\n")
    vouch(Path("dump/train"))
    assert check("dump") == 1
    assert "E124 dump/train/skipped.tsv: has 1 lines, its manifest counts 0" in capsys.readouterr().out
    (recipe / "dump/train/skipped.tsv").write_text("")
    vouch(Path("dump/train"), given=6, made=6)
    assert check("dump") == 1
    assert "E124 dump/train/utt2num_frames: has 5 lines, its manifest counts 6" in capsys.readouterr().out
    text = (recipe / "data/train/manifest.json").read_text().replace('"given": 5', '"given": 7')
    (recipe / "data/train/manifest.json").write_text(text)
    (recipe / "data/train/.done").write_text(manifest.text_sha256(text) + "\n")
    assert check("data") == 1 and "E124 data/train: 7 utterances were given, 5 made" in capsys.readouterr().out


def test_records_and_headers_are_read_even_when_the_hashes_agree(recipe, capsys):
    """A stage that wrote nonsense and hashed it."""
    dump = Path("dump/train")
    reader = TokenReader(dump / "seq.scp")
    _, offset = reader.places["a"]
    data = bytearray((dump / "seq.ark").read_bytes())
    data[offset + 20] ^= 1
    (dump / "seq.ark").write_bytes(data)
    vouch(dump, "seq")
    assert check("dump") == 1 and re.search(r"E302 .*seq\.ark", capsys.readouterr().out)
    audio.write_audio(Path("data/train/wav/wav.scp/train-wav.scp-a.wav"), [0.1] * 999, 8000)
    vouch(Path("data/train"))
    assert check("data") == 1
    assert "E202 data/train/wav.scp: a: " in capsys.readouterr().out


def test_what_was_made_from_something_else_is_named(recipe, capsys):
    with open("data/train/sot_order", "a") as file:
        file.write("z 1 2\n")
    assert check("dump") == 1
    told = "E121 dump/train: it was made from what has changed since: data/train/sot_order has "
    line = capsys.readouterr().out
    assert line.startswith(told) and line.endswith(" (fix: run --stage 3 again)\n")


@pytest.mark.parametrize(
    ("path", "told"), [("dump/train/.done", "was never finished"), ("dump/train/seq.ark", "is missing")]
)
def test_what_is_not_finished_or_gone(recipe, capsys, path, told):
    os.unlink(path)
    assert check() == 1 and told in capsys.readouterr().out


def test_nothing_to_check_is_an_error(tmp_path, capsys):
    assert verify.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"verify: E857 {tmp_path}: no finished result below")
    assert verify.main([str(tmp_path), "--deep"]) == 2
    assert "E855" in capsys.readouterr().err


def test_it_is_a_subcommand_and_needs_no_torch(recipe):
    code = (
        "import sys; from codecsep.bin import cli; status = cli.main(['verify', 'dump', 'data']); "
        "print('torch' in sys.modules); sys.exit(status)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert result.returncode == 0 and result.stdout.endswith("False\n"), result.stderr
