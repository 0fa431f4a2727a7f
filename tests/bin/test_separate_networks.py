"""`separate` with real (untrained, tiny) networks and the mini codec: the whole of stage 6 on files."""

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import save_file

from codecsep import config
from codecsep.bin import separate
from codecsep.codecs import mini
from codecsep.data import audio, datadir
from codecsep.data.ark import CodecInfo, write_codec_info
from codecsep.data.digest import file_sha256
from codecsep.models import pit_classifier, slm_ss

STACK = {"width": 16, "num_layers": 1, "num_heads": 2, "ffn_width": 16}
SIZES = {"encoder": {"kind": "fbank", "fbank": {"transformer": STACK}}, "num_codebooks": 3, "codebook_size": 20}
LENGTHS = {"utt_a": 4000, "utt_b": 9000, "utt_c": 6400, "utt_d": 401}


def save_network(folder, name, module, network):
    torch.manual_seed(0)
    settings = config.build(module.Config, network, "test")
    folder.mkdir(parents=True)
    weights = {key: 3 * value.clone() for key, value in module.Model(settings).state_dict().items()}
    save_file(weights, folder / "best.safetensors")
    (folder / "config.yaml").write_text(yaml.safe_dump({"model": name, "network": config.to_dict(settings)}))


def save_codec(folder):
    sizes = {"width": 8, "encoder_blocks": 1, "decoder_blocks": 1, "synthesis_blocks": 1}
    settings = config.build(mini.Config, {**sizes, "quantizer": {"num_codebooks": 3, "codebook_size": 20}}, "test")
    network = mini.Network(settings)
    folder.mkdir()
    kept = {k: v.clone() for k, v in network.state_dict().items() if k not in mini.training_state(network)}
    save_file(kept, folder / "mini.safetensors")
    (folder / "config.yaml").write_text(config.dump(settings))
    fingerprint = file_sha256(folder / "mini.safetensors")
    write_codec_info(folder, CodecInfo("mini", fingerprint, 16000, 50.0, 320, 3, 20, 0))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """exp/{ar,nar,pit,codec} and data/test of noise."""
    folder = tmp_path_factory.mktemp("recipe")
    decoder = {**SIZES, "decoder": STACK, "positions": "time", "frame_rate": 50.0}
    for part in ("ar", "nar"):
        save_network(folder / "exp" / part, "slm_ss", slm_ss, {**decoder, "part": part})
    save_network(folder / "exp" / "pit", "pit_classifier", pit_classifier, SIZES)
    save_codec(folder / "exp" / "codec")
    noise = np.random.default_rng(0)
    for key, length in LENGTHS.items():
        audio.write_audio(folder / "data" / f"{key}.wav", 0.1 * noise.standard_normal(length), 16000)
    datadir.write_table(folder / "data" / "test" / "wav.scp", {key: f"data/{key}.wav" for key in LENGTHS})
    return folder


def run(models, out, *words):
    names = [f"exp/{name}" for name in models]
    fixed = ["--models", *names, "--codec", "exp/codec", "--data", "data/test", "--out", out, "--device", "cpu"]
    assert separate.main([*fixed, *map(str, words)]) == 0
    return {path.name: soundfile.read(path)[0] for path in sorted(datadir.Path(out, "wav").iterdir())}


@pytest.mark.parametrize("strategy", ["greedy", "sample", "beam"])
def test_estimates_do_not_depend_on_the_batch(recipe, strategy, monkeypatch):
    monkeypatch.chdir(recipe)
    options = ["--strategy", strategy, "--num_speakers", 2]
    together = run(["ar", "nar"], f"exp/{strategy}_4", "--batch_size", 4, *options)
    alone = run(["ar", "nar"], f"exp/{strategy}_1", "--batch_size", 1, *options)
    assert {name: len(samples) for name, samples in together.items()} == {
        f"{key}_spk{number}.wav": length for key, length in LENGTHS.items() for number in (1, 2)
    }
    frames = [
        [line.split("\t")[:3] for line in datadir.Path(f"exp/{strategy}_{size}/decode.tsv").read_text().splitlines()]
        for size in (1, 4)
    ]
    assert frames[0] == frames[1]
    assert all(np.allclose(together[name], alone[name], atol=2e-4) for name in together)


def test_the_pit_classifier_is_decoded_alike(recipe, monkeypatch):
    monkeypatch.chdir(recipe)
    found = run(["pit"], "exp/decode_pit")
    assert {name: len(samples) for name, samples in found.items() if "spk1" in name} == {
        f"{key}_spk1.wav": length for key, length in LENGTHS.items()
    }


def test_networks_that_do_not_belong_together(recipe, monkeypatch, capsys):
    monkeypatch.chdir(recipe)
    words = ["--codec", "exp/codec", "--data", "data/test", "--out", "exp/no"]
    assert separate.main(["--models", "exp/ar", "exp/pit", *words]) == 2
    assert "--models are of different kinds: pit_classifier, slm_ss" in capsys.readouterr().err
    assert separate.main(["--models", "exp/nar", *words]) == 2
    assert "one ar and one nar" in capsys.readouterr().err
