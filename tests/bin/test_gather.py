"""Systems of several recipes in one table: lists, runs, codecs passed, and what is refused."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "metrics"))
from sounds import RATE, data_directory, sources_of, speech, write_estimates

from codecsep.bin import gather, score
from codecsep.data import audio, manifest
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.data.datadir import read_table

INFO = CodecInfo("mini", "0" * 64, RATE, 50.0, 320, num_codebooks=1, codebook_size=16)


def finish(folder: Path, inputs: list[str]) -> None:
    """What stage 6 leaves behind: a manifest with inputs named from the recipe."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".scp", ".wav")]
    manifest.finish(folder, manifest.Work("6", [Path(name) for name in inputs]), files, manifest.Counts(1, 1))


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """Recipes waves (one system, and the same behind the codec) and tokens (two seeds, all with a codec)."""
    for recipe in ("waves", "tokens"):
        (tmp_path / recipe).mkdir()
        monkeypatch.chdir(tmp_path / recipe)
        data = data_directory(Path(), num_utts=1)
        write_codec_info("exp/codec", INFO)
        Path("exp/codec/config.yaml").write_text("{}\n")
        Path("exp/codec/mini.safetensors").write_bytes(b"weights")
        sources, codec = {"utt0": [0.9 * s for s in sources_of(data, "utt0")]}, "exp/codec/codec.json"
        mixtures = "data/test/wav.scp"
        systems = {"net": [mixtures], "net_after": [codec, "exp/decode/net/test/spk1.scp"]}
        systems["net_both"] = [codec, "exp/decode/net_after/test/spk1.scp"]
        if recipe == "tokens":
            systems = {f"pit_seed{seed}": [mixtures, codec] for seed in (1, 2)}
        for name, inputs in systems.items():
            finish(write_estimates(Path(f"exp/decode/{name}/test"), sources), inputs)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*words):
    return gather.main(["--recipes", "waves", "tokens", "--out", "exp/all", *words])


def test_lists_have_paths_from_here_and_runs_and_codecs_are_known(corpus):
    (corpus / "tokens/exp/decode/begun/test").mkdir(parents=True)
    assert run() == 0
    words = Path("exp/all/arguments").read_text().split("\n")[:-1]
    hyps = [words[i + 1] for i, word in enumerate(words) if word == "--hyp"]
    assert hyps == [
        "net=exp/all/waves.net",
        "net_after=exp/all/waves.net_after",
        "pit_classifier=exp/all/tokens.pit_seed1,exp/all/tokens.pit_seed2",
        "net_both=exp/all/waves.net_both",
    ]
    assert words[:4] == ["--data", "exp/all/data", "--codec", "exp/all/codec"]
    assert words[words.index("--waveform") + 1] == "net" and words[-2:] == ["--passes", "net_both=2"]
    (path,) = read_table("exp/all/tokens.pit_seed2/spk1.scp").values()
    assert path == "tokens/exp/decode/pit_seed2/test/wav/utt0_spk1.wav" and Path(path).is_file()
    assert Path("exp/all/codec/mini.safetensors").read_bytes() == b"weights"


def test_what_is_gathered_can_be_scored(corpus):
    assert run("--systems", "net") == 0
    words = Path("exp/all/arguments").read_text().split()
    assert "--codec" not in words
    plain = ["--out", "exp/table", "--nj", "1", "--without", "asr,dnsmos,speaker,pesq,sdr"]
    assert score.main([*words, *plain]) == 0 and "net" in Path("exp/table/table.txt").read_text()


def test_recipes_that_made_other_audio_are_refused(corpus, capsys):
    path = read_table("tokens/data/test/spk2.scp")["utt0"]
    audio.write_audio(corpus / "tokens" / path, speech(1.5, 300), RATE)
    assert run() == 2
    told = capsys.readouterr().err
    assert "E549" in told and "spk2 utt0" in told and told.count("\n") == 1 and not Path("exp/all").exists()


def test_another_codec_is_refused_and_so_is_what_has_changed_since(corpus, capsys, monkeypatch):
    audio.write_audio("waves/exp/decode/net/test/wav/utt0_spk1.wav", np.ones(900) * 0.1, RATE)
    assert run() == 2 and "E120" in capsys.readouterr().err
    assert run("--systems", "nothing") == 2
    capsys.readouterr()
    monkeypatch.chdir(corpus / "tokens")
    write_codec_info("exp/codec", CodecInfo("mini", "1" * 64, RATE, 50.0, 320, num_codebooks=1, codebook_size=16))
    monkeypatch.chdir(corpus)
    assert gather.main(["--recipes", "tokens", "--out", "exp/all"]) == 2
    assert "E121" in capsys.readouterr().err
    monkeypatch.chdir(corpus / "tokens")
    for seed in (1, 2):
        finish(Path(f"exp/decode/pit_seed{seed}/test"), ["data/test/wav.scp", "exp/codec/codec.json"])
    monkeypatch.chdir(corpus / "waves")
    finish(Path("exp/decode/net/test"), ["data/test/wav.scp"])
    monkeypatch.chdir(corpus)
    assert run() == 2
    told = capsys.readouterr().err
    assert "E508" in told and "2 different codecs" in told and told.count("\n") == 1
