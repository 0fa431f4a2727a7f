"""Stage 2 with --content latents: exact values on a codec whose latents are the samples, jobs, limits, training."""

import json
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from toy_codec import HOP, LEVELS, RATE, SAMPLES, SIZE, flip, run, snapshot

from codecsep.bin import verify
from codecsep.codecs import base, mini
from codecsep.codecs.block_codec import BlockCodec
from codecsep.data import audio, datadir
from codecsep.data.ark import ArkError, CodecInfo, write_codec_info
from codecsep.data.examples import Dataset, ExampleError
from codecsep.data.latent_ark import LatentReader
from codecsep.models import codecformer
from codecsep.train import datasets

LATENTS = ("--content", "latents")
NAMES = ("mixture_latents", "spk1_latents", "spk2_latents")
SHORT = 1300  # samples of the second source of "d", whose mixture has 2400


class Plain(BlockCodec):
    """The latents of a frame are its samples."""

    block_seconds = 0.06
    latent_size = HOP

    def __init__(self, info):
        super().__init__(info)
        self.weight = nn.Parameter(torch.ones(()))
        self.encoded = []

    def together(self, wav, lengths):
        self.encoded.append(len(wav))
        return nn.functional.pad(wav, (0, -wav.shape[1] % HOP)).unflatten(1, (-1, HOP)) * self.weight

    def blocks(self, read, num_samples):
        for start in range(0, num_samples, HOP * self.block):
            wav = read(start, min(start + HOP * self.block, num_samples))[None]
            yield self.together(wav, torch.tensor([wav.shape[1]]))

    def nearest(self, latents):
        return latents[..., :LEVELS].mT.clamp(0, 1).mul(SIZE - 1).long()

    def embed(self, codes):
        raise AssertionError("not asked for")

    synthesise = embed


@pytest.fixture
def plain(tmp_path, monkeypatch):
    info = CodecInfo("toy", "f0", RATE, RATE / HOP, HOP, LEVELS, SIZE)
    write_codec_info(tmp_path / "codec", info)
    made = Plain(info).eval()
    monkeypatch.setattr(base, "load", lambda path, device="cpu": made)
    return made


@pytest.fixture
def shorter(mixtures):
    """Mixtures of which one source ends earlier, in its file."""
    path = datadir.read_table(mixtures / "spk2.scp")["d"]
    audio.write_audio(path, audio.read_audio(path)[0][:SHORT], RATE)
    return mixtures


def content(dump, names=NAMES):
    return {name: dict(LatentReader(dump / f"{name}.scp")) for name in names}


def wanted(data, table, key, size):
    """The samples of a file filled up to its mixture's whole frames and divided by their peak, frame by frame."""
    wave = audio.read_audio(datadir.read_table(data / table)[key])[0]
    filled = np.zeros(-(-size // HOP) * HOP, np.float32)
    filled[: len(wave)] = wave / np.abs(wave).max()
    return filled.reshape(-1, HOP)


def equal(first, second):
    return first.keys() == second.keys() and all(
        rows.tobytes() == second[name][key].tobytes() for name in first for key, rows in first[name].items()
    )


def test_every_signal_has_peak_one_and_the_frames_of_its_mixture(tmp_path, plain, shorter):
    assert run(tmp_path, shorter, *LATENTS) == 0
    dump = tmp_path / "dump" / "train"
    found, frames = content(dump), datadir.DataDir(dump).integers("utt2num_frames")
    for name, table in zip(NAMES, ("wav.scp", "spk1.scp", "spk2.scp"), strict=True):
        for key, size in SAMPLES.items():
            assert np.array_equal(found[name][key], wanted(shorter, table, key, size))
            assert len(found[name][key]) == frames[key] and np.abs(found[name][key]).max() == 1
    assert not found["spk2_latents"]["d"].reshape(-1)[SHORT:].any()
    assert not list(dump.glob("*codes*")) and verify.main([str(dump)]) == 0


def test_the_fields_of_an_example(tmp_path, plain, shorter):
    run(tmp_path, shorter, *LATENTS)
    dump, fields = tmp_path / "dump" / "train", ("mixture_latents", "source_latents", "mixture")
    stored, whole, cropped = content(dump), Dataset(shorter, dump, fields), Dataset(shorter, dump, fields, 4)
    assert whole.ids[3] == "d" and whole.lengths[3] == 15 and cropped.lengths[3] == 4
    example, crop = whole[3], cropped[3]
    assert np.array_equal(example["mixture_latents"], stored["mixture_latents"]["d"])
    in_order = [stored["spk2_latents"]["d"], stored["spk1_latents"]["d"]]  # sot_order is "2 1"
    assert example["source_latents"].dtype == np.float32 and np.array_equal(example["source_latents"], in_order)
    assert np.array_equal(crop["source_latents"], example["source_latents"][:, :4])
    assert np.array_equal(crop["mixture_latents"], example["mixture_latents"][:4]) and len(crop["mixture"]) == 4 * HOP


def test_single_sources(tmp_path, plain, singles):
    assert run(tmp_path, singles, *LATENTS) == 0
    dump = tmp_path / "dump" / "train_sources"
    example = Dataset(singles, dump, ("mixture_latents",))[1]
    assert np.array_equal(example["mixture_latents"], wanted(singles, "wav.scp", "b", SAMPLES["b"]))
    with pytest.raises(ExampleError, match=r"^E109 .*holds no mixtures"):
        Dataset(singles, dump, ("source_latents",))


def test_long_files_go_through_in_blocks_with_the_same_latents(tmp_path, plain, shorter, monkeypatch):
    run(tmp_path, shorter, *LATENTS)
    dump = tmp_path / "dump" / "train"
    whole = content(dump)
    monkeypatch.setattr(audio, "BLOCK", 500)
    monkeypatch.setattr(audio, "read_audio", None)
    assert run(tmp_path, shorter, *LATENTS, "--force", "--long_seconds", "0") == 0
    assert equal(content(dump), whole) and (dump / "skipped.tsv").read_text() == ""


def test_silence_is_refused_short_or_long(tmp_path, plain, mixtures):
    path = datadir.read_table(mixtures / "spk1.scp")["b"]
    audio.write_audio(path, np.zeros(1600, np.float32), RATE)
    for seconds in ("60", "0"):
        assert run(tmp_path, mixtures, *LATENTS, "--force", "--max_skipped", "0.3", "--long_seconds", seconds) == 0
        assert (tmp_path / "dump" / "train" / "skipped.tsv").read_text().startswith("b\t2\tE211\t")
    assert "b" not in content(tmp_path / "dump" / "train")["mixture_latents"]


def test_jobs_and_the_repair_of_one(tmp_path, plain, shorter):
    run(tmp_path, shorter, *LATENTS)
    dump = tmp_path / "dump" / "train"
    alone = content(dump)
    shutil.rmtree(dump)
    assert [run(tmp_path, shorter, *LATENTS, "--job", f"{job}/2") for job in (2, 1)] == [0, 0]
    assert equal(content(dump), alone)
    flip(dump / "mixture_latents.2.ark")
    before, first = len(plain.encoded), (dump / "mixture_latents.1.ark").stat().st_mtime_ns
    assert [run(tmp_path, shorter, *LATENTS, "--job", f"{job}/2") for job in (1, 2)] == [0, 0]
    assert before < len(plain.encoded) < before + 3 * len(SAMPLES) * 4
    assert equal(content(dump), alone) and (dump / "mixture_latents.1.ark").stat().st_mtime_ns == first


def test_codes_are_the_default_and_as_they_were(tmp_path, plain, mixtures):
    dump = tmp_path / "dump" / "train"
    run(tmp_path, mixtures)
    default = snapshot(dump)
    assert json.loads((dump / "manifest.json").read_text())["inputs"].keys().isdisjoint({"content"})
    shutil.rmtree(dump)
    run(tmp_path, mixtures, "--content", "codes")
    timeless = ("manifest.json", ".done")
    again = {name: data for name, data in snapshot(dump).items() if not name.endswith(timeless)}
    assert again == {name: data for name, data in default.items() if not name.endswith(timeless)}


def test_one_directory_holds_one_kind(tmp_path, plain, mixtures, capsys):
    dump = tmp_path / "dump" / "train"
    for first, second in ((("--content", "codes"), LATENTS), (LATENTS, ("--content", "codes"))):
        assert run(tmp_path, mixtures, *first) == 0
        before = snapshot(dump)
        assert run(tmp_path, mixtures, *second) == 2
        assert f"E136 {dump}: holds {first[1]}" in capsys.readouterr().err and snapshot(dump) == before
        if first is not LATENTS:
            with pytest.raises(ExampleError, match=r"^E109 .*holds no latents, but codes .*--content latents"):
                Dataset(mixtures, dump, ("mixture_latents",))
        shutil.rmtree(dump)


def test_a_disk_without_room_is_seen_before_anything_is_written(tmp_path, plain, mixtures, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 10**6))
    assert run(tmp_path, mixtures, *LATENTS) == 2
    said = capsys.readouterr().err
    assert "E320" in said and f"of {HOP} values a frame" in said and not plain.encoded
    assert not list((tmp_path / "dump" / "train").glob("*latents*"))


def test_a_codec_that_makes_nan_is_refused(tmp_path, plain, mixtures, capsys):
    plain.weight.data.fill_(float("nan"))
    assert run(tmp_path, mixtures, *LATENTS) == 2
    assert "E309" in capsys.readouterr().err and not list((tmp_path / "dump" / "train").glob("*.scp"))


def test_codec_of_training_and_of_its_latents_must_be_one(tmp_path, plain, mixtures):
    run(tmp_path, mixtures, *LATENTS)
    dump = str(tmp_path / "dump" / "train")
    datasets.require_one_codec([str(tmp_path / "codec"), dump, ""])
    write_codec_info(tmp_path / "codec", CodecInfo("toy", "f1", RATE, RATE / HOP, HOP, LEVELS, SIZE))
    with pytest.raises(ArkError, match=r"^E303 .*fingerprint"):
        datasets.require_one_codec([str(tmp_path / "codec"), dump, ""])


@pytest.mark.parametrize("rate", [RATE, 2 * RATE])
def test_a_step_on_stored_latents_is_the_step_on_those_made_on_the_fly(tmp_path, mixtures, monkeypatch, rate):
    """Also where the codec's rate is not that of the mixtures."""
    torch.manual_seed(0)
    sizes = mini.Config(rate, 160, 320, 320, width=16, encoder_blocks=1, decoder_blocks=1, synthesis_blocks=1)
    info = CodecInfo("mini", "f0", rate, rate / 160, 160, 8, 512)
    write_codec_info(tmp_path / "codec", info)
    codec = mini.MiniCodec(mini.Network(sizes), info).eval()
    monkeypatch.setattr(base, "load", lambda path, device="cpu": codec)
    assert run(tmp_path, mixtures, *LATENTS) == 0
    losses, gradients = [], []
    for kind in ("latent", "encoded"):  # stored ones; made in every step
        torch.manual_seed(1)
        network = {"width": 16, "num_layers": 1, "num_heads": 2, "ffn_width": 16, "dropout": 0.0, "latent_size": 64}
        model = codecformer.Model(codecformer.Config(sample_rate=RATE, loss=kind, **network))
        model.use_codec(codec)
        data = Dataset(mixtures, tmp_path / "dump" / "train", model.fields)
        loss, _ = model.loss(model.collate([data[0], data[3]]))
        loss.backward()
        losses.append(loss.detach())
        gradients.append(torch.cat([value.grad.flatten() for value in model.parameters() if value.grad is not None]))
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-6, rtol=1e-3)
