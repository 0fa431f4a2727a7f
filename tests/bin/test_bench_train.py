"""`bench train`: the real trainer on a corpus of noise. Nothing here is timed."""

import json
from pathlib import Path

import torch

from codecsep.bin import bench, bench_corpus, bench_train
from codecsep.data.ark import CodecInfo
from codecsep.data.examples import Dataset
from codecsep.tokens import sot
from codecsep.tokens.vocab import Vocab

TOY = Path(__file__).parents[2] / "egs" / "prompts2mix" / "slm_ss" / "conf" / "toy" / "ar.yaml"


def test_corpus_is_read_as_those_of_stages_0_to_3_are(tmp_path):
    info = CodecInfo("noise", "0", 16000, 50.0, 320, 3, 20)
    data, dump = bench_corpus.write(tmp_path, 2, 0.1, info)
    examples = Dataset(data, dump, ("mixture", "codes", "sequence"))
    assert len(examples) == 2 and examples.lengths == [5, 5]
    for example in examples:
        assert example["mixture"].shape == (1600,)
        codes = [torch.as_tensor(matrix) for matrix in example["codes"]]
        assert (torch.as_tensor(example["sequence"]) == sot.build(codes, Vocab(20))).all()


def test_a_quick_run_has_every_row(tmp_path, capsys):
    models = f"[pit, {TOY}]"
    words = ["--quick", "--models", models, "--codebook_size", "512", "--num_codebooks", "8"]
    assert bench.main(["train", *words, "--json", str(tmp_path / "train.json")]) == 0
    speed, twin = json.loads((tmp_path / "train.json").read_text())["tables"]
    assert [row[0] for row in speed["rows"]] == ["pit", str(TOY)]
    assert all(value > 0 for row in speed["rows"] for value in row[1:5])
    assert all(0 <= float(row[5].rstrip("%")) <= 100 for row in speed["rows"])
    assert [row[0] for row in twin["rows"]] == ["ours", "torch's nn.TransformerDecoder"]
    assert all(row[2] > 0 for row in twin["rows"]) and "### 2 mixtures of 0.5 s" in capsys.readouterr().out


def test_what_a_step_predicts(tmp_path):
    settings = bench_train.Settings(num_codebooks=8)
    made = [bench_train.training(name, settings, tmp_path, tmp_path) for name in ("ar", "nar", "pit")]
    assert [bench_train.codes_per_frame(given) for given in made] == [2, 2, 16]
    made[2].network.levels_per_step = 3
    assert bench_train.codes_per_frame(made[2]) == 6
