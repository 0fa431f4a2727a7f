"""Examples: stored ones equal what lies on disk, dynamic ones are a pure function of (seed, epoch, index)."""

import math
import pickle

import numpy as np
import pytest
import torch

from codecsep.data import audio, datadir, mixing
from codecsep.data.ark import ArkError, CodecInfo, TokenWriter, write_codec_info
from codecsep.data.datadir import DataDir
from codecsep.data.examples import Dataset, DynamicConfig, DynamicDataset, ExampleError

RATE, HOP, LEVELS, SIZE = 16000, 320, 8, 512
INFO = CodecInfo("toy", "00", RATE, RATE / HOP, HOP, LEVELS, SIZE)
SECONDS = {"a1": 0.61, "a2": 0.5, "b1": 0.9, "b2": 0.7, "c1": 0.55}


def frames(samples: int) -> int:
    return math.ceil(samples / HOP)


def codes_of(key: str, size: int) -> np.ndarray:
    generator = np.random.default_rng(list(key.encode()))
    return generator.integers(0, SIZE, (LEVELS, size))


def write_codes(dump, name: str, table: dict[str, np.ndarray]) -> None:
    with TokenWriter(dump / name) as writer:
        for key, codes in table.items():
            writer.write(key, codes)


@pytest.fixture
def sources(tmp_path):
    """Noise prompts of three speakers; a silent start of 0.1 s before each "1" utterance makes the order known."""
    data, dump = tmp_path / "data" / "train_sources", tmp_path / "dump" / "train_sources"
    names = ("wav.scp", "utt2spk", "text", "utt2num_samples", "utt2lufs", "utt2peak", "utt2onset")
    tables = {name: {} for name in names}
    generator = np.random.default_rng(1)
    for key, seconds in SECONDS.items():
        wave = generator.normal(0, 0.05, round(seconds * RATE)).astype(np.float32)
        wave[: RATE // 10 if key.endswith("1") else 0] = 0
        path = tmp_path / "wav" / f"{key}.wav"
        audio.write_audio(path, wave, RATE)
        wave, _ = audio.read_audio(path)
        measured = (mixing.loudness(wave, RATE), abs(wave).max(), mixing.onset(wave, RATE))
        for name, value in zip(names, (path, key[0], "text", len(wave), *measured), strict=True):
            tables[name][key] = value
    for name, table in tables.items():
        datadir.write_table(data / name, table)
    counts = {key: frames(value) for key, value in tables["utt2num_samples"].items()}
    write_codes(dump, "codes", {key: codes_of(key, count) for key, count in counts.items()})
    datadir.write_table(dump / "utt2num_frames", counts)
    write_codec_info(dump, INFO)
    return data, dump


@pytest.fixture
def stored(tmp_path):
    """Two mixtures "m1", "m2" of two speakers with own lengths; in m1 speaker 2 comes first."""
    data, dump = tmp_path / "data" / "dev", tmp_path / "dump" / "dev"
    lengths = {"m1": (4000, 6400), "m2": (7000, 3300)}
    names = ("wav.scp", "spk1.scp", "spk2.scp")
    tables: dict[str, dict] = {name: {} for name in names}
    generator = np.random.default_rng(3)
    for key, sizes in lengths.items():
        waves = [generator.normal(0, 0.1, size) for size in sizes]
        mixture, _ = mixing.mix(waves, [1.0, 1.0])
        for name, wave in zip(names, [mixture, *waves], strict=True):
            tables[name][key] = tmp_path / "wav" / f"{key}-{name}.wav"
            audio.write_audio(tables[name][key], wave, RATE)
    tables["utt2num_samples"] = {key: max(sizes) for key, sizes in lengths.items()}
    tables["sot_order"] = {"m1": "2 1", "m2": "1 2"}
    for name, table in tables.items():
        datadir.write_table(data / name, table)
    for index in (0, 1):
        content = {key: codes_of(f"{key}{index}", frames(sizes[index])) for key, sizes in lengths.items()}
        write_codes(dump, f"spk{index + 1}_codes", content)
    datadir.write_table(dump / "utt2num_frames", {key: frames(max(sizes)) for key, sizes in lengths.items()})
    write_codec_info(dump, INFO)
    return data, dump


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        all(np.array_equal(x, y) for x, y in zip(a[name], b[name], strict=True))
        if name == "codes"
        else np.array_equal(a[name], b[name])
        for name in a
    )


def test_stored_example_follows_the_stored_order(stored):
    dataset = Dataset(*stored, fields=("mixture", "sources", "codes"))
    assert dataset.ids == ["m1", "m2"] and len(dataset) == 2 and dataset.lengths == [20, 22]
    first, second = dataset[0], dataset[1]
    assert [codes.shape for codes in first["codes"]] == [(8, 20), (8, 13)]
    assert np.array_equal(first["codes"][0], codes_of("m11", 20))
    assert np.array_equal(second["codes"][0], codes_of("m20", 22))
    assert first["sources"].shape == (2, 6400) and not first["sources"][1, 4000:].any()
    assert np.abs(first["sources"].sum(0) - first["mixture"]).max() < 2e-4


def test_only_asked_fields_are_read(stored):
    assert set(Dataset(*stored, fields=("codes",))[0]) == {"id", "codes"}
    assert set(Dataset(stored[0], fields=("mixture",))[0]) == {"id", "mixture"}


def test_lengths_without_a_dump_are_frames_of_20_ms(stored):
    assert Dataset(stored[0], fields=("mixture",)).lengths == [20, 22]


def test_crop_keeps_the_first_frames_everywhere(stored):
    cropped, whole = (Dataset(*stored, ("mixture", "sources", "codes"), max_frames=limit) for limit in (15, None))
    assert cropped.lengths == [15, 15]
    for index in (0, 1):
        short, long = cropped[index], whole[index]
        assert np.array_equal(short["mixture"], long["mixture"][: 15 * HOP])
        for a, b in zip(short["codes"], long["codes"], strict=True):
            assert np.array_equal(a, b[:, :15])


def test_single_sources_have_wav_and_one_matrix(sources):
    dataset = Dataset(*sources, fields=("wav", "codes"))
    example = dataset[dataset.ids.index("b2")]
    assert len(example["wav"]) == 11200 and len(example["codes"]) == 1
    assert np.array_equal(example["codes"][0], codes_of("b2", 35))


def test_skipped_utterances_are_left_out_and_foreign_ones_refused(stored):
    data, dump = stored
    datadir.write_table(dump / "utt2num_frames", {"m2": 22})
    assert Dataset(data, dump, ("codes",)).ids == ["m2"]
    datadir.write_table(dump / "utt2num_frames", {"m2": 22, "zz": 3})
    with pytest.raises(ExampleError, match="stage 2"):
        Dataset(data, dump, ("codes",))


def test_sequence_is_stored_or_made(stored):
    data, dump = stored
    write_codes(dump, "seq", {key: np.full((8, 4), SIZE + 2) for key in ("m1", "m2")})
    with pytest.raises(ExampleError, match="stage 3"):
        Dataset(data, dump, ("sequence",))
    (dump / "token_list.txt").write_text("x\n" * (SIZE + 3))
    assert Dataset(data, dump, ("sequence",))[0]["sequence"].tolist() == [[SIZE + 2] * 4] * 8
    made = Dataset(data, dump, ("sequence",), make_sequence=lambda example: np.concatenate(example["codes"], 1))
    assert made[0]["sequence"].shape == (8, 33)
    with pytest.raises(ExampleError, match="cropped"):
        Dataset(data, dump, ("sequence",), max_frames=3)


@pytest.mark.parametrize("fields", [("mix",), ("codes",), ("sequence",)])
def test_dataset_refuses(stored, fields):
    with pytest.raises(ExampleError):
        Dataset(stored[0], None, fields)


def dynamic(sources, fields=("mixture", "sources", "codes"), seed=5, **options) -> DynamicDataset:
    draws = mixing.Config(mode=options.pop("mode", "max"), num_speakers=options.pop("num_speakers", 2))
    return DynamicDataset(*sources, fields, DynamicConfig(epoch_size=24, mixing=draws, **options), seed)


@pytest.mark.parametrize("options", [{}, {"mode": "min"}, {"max_frames": 12, "level_jitter": 6.0}])
def test_dynamic_item_depends_on_seed_epoch_and_index_only(sources, options):
    one, two = dynamic(sources, **options), dynamic(sources, **options)
    two.set_epoch(3)
    other_epoch = [two[i]["id"] for i in range(24)]
    two.set_epoch(0)
    backwards = {i: two[i] for i in reversed(range(24))}
    assert all(same(one[i], backwards[i]) for i in range(24))
    assert [one[i]["id"] for i in range(24)] != other_epoch
    assert [one[i]["id"] for i in range(24)] != [dynamic(sources, seed=6, **options)[i]["id"] for i in range(24)]


def test_dynamic_items_do_not_depend_on_the_number_of_workers(sources):
    dataset = dynamic(sources, fields=("mixture", "codes"), max_frames=20, level_jitter=3.0)
    loader = torch.utils.data.DataLoader(dataset, batch_size=4, num_workers=2, collate_fn=list)
    items = [item for batch in loader for item in batch]
    assert len(items) == 24 and all(same(dataset[i], item) for i, item in enumerate(items))


def test_dynamic_survives_pickling(sources):
    dataset = dynamic(sources)
    assert same(dataset[1], pickle.loads(pickle.dumps(dataset))[1])


@pytest.mark.parametrize("num_speakers", [2, 3])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_dynamic_mixture_waves_codes_and_order_belong_together(sources, mode, num_speakers):
    dataset = dynamic(sources, mode=mode, num_speakers=num_speakers)
    for index in range(24):
        item = dataset[index]
        ids = item["id"].split("+")
        assert len({key[0] for key in ids}) == num_speakers and len(item["sources"]) == num_speakers
        assert np.allclose(item["sources"].sum(0), item["mixture"], atol=1e-6) and abs(item["mixture"]).max() <= 0.9001
        sizes = [round(SECONDS[key] * RATE) for key in ids]
        length = max(sizes) if mode == "max" else min(sizes)
        assert len(item["mixture"]) == length and dataset.lengths[index] == frames(length)
        assert [key.endswith("1") for key in ids] == sorted(key.endswith("1") for key in ids)
        for key, size, codes, wave in zip(ids, sizes, item["codes"], item["sources"], strict=True):
            own = min(size, length)
            assert np.array_equal(codes, codes_of(key, frames(size))[:, : frames(own)])
            assert correlation(wave[:own], dataset.audio.wav(key)[:own]) > 0.9999


def test_dynamic_crop_is_one_span_of_wave_and_codes(sources):
    dataset = dynamic(sources, max_frames=12)
    starts = set()
    for index in range(24):
        item = dataset[index]
        assert dataset.lengths[index] == 12 and len(item["mixture"]) <= 12 * HOP
        for key, codes, wave in zip(item["id"].split("+"), item["codes"], item["sources"], strict=True):
            whole = codes_of(key, frames(round(SECONDS[key] * RATE)))
            start = next(s for s in range(whole.shape[1]) if np.array_equal(whole[:, s : s + codes.shape[1]], codes))
            reference = dataset.audio.wav(key)[start * HOP : (start + 12) * HOP]
            assert codes.shape[1] >= 6 and correlation(wave[: len(reference)], reference) > 0.9999
            starts.add(start)
    assert len(starts) > 5


def test_dynamic_crop_is_ordered_by_what_it_holds(sources):
    dataset = dynamic(sources, max_frames=12)
    firsts = 0
    for index in range(24):
        item = dataset[index]
        onsets = [mixing.onset(wave, RATE) for wave in item["sources"]]
        assert onsets == sorted(onsets)
        firsts += item["id"].split("+")[0].endswith("1")
    assert firsts > 3  # crops that begin after the silent start


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    if not (a.any() and b.any()):
        return 1.0
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


def test_level_jitter_changes_the_level_only(sources):
    plain, jittered = dynamic(sources), dynamic(sources, level_jitter=6.0)
    ratios = [20 * np.log10(np.std(jittered[i]["mixture"]) / np.std(plain[i]["mixture"])) for i in range(24)]
    assert max(np.abs(ratios)) <= 6.001 and np.ptp(ratios) > 3
    assert all(correlation(jittered[i]["mixture"], plain[i]["mixture"]) > 0.9999 for i in range(24))


def test_skipped_sources_are_never_drawn(sources):
    data, dump = sources
    counts = {key: value for key, value in datadir.read_table(dump / "utt2num_frames").items() if key != "a1"}
    datadir.write_table(dump / "utt2num_frames", counts)
    assert not any("a1" in dynamic(sources)[i]["id"] for i in range(24))


def test_dynamic_sequence_is_made(sources):
    config = DynamicConfig(epoch_size=2)
    make = lambda example: np.concatenate(example["codes"], axis=1)  # noqa: E731
    item = DynamicDataset(*sources, ("sequence",), config, make_sequence=make)[0]
    assert item["sequence"].shape[1] == sum(codes.shape[1] for codes in item["codes"])


@pytest.mark.parametrize("fields", [("wav",), ("sequence",), ("nothing",)])
def test_dynamic_refuses_fields(sources, fields):
    with pytest.raises(ExampleError):
        DynamicDataset(*sources, fields, DynamicConfig())


def test_dynamic_refuses_offsets_with_cached_codes(sources):
    config = DynamicConfig(mixing=mixing.Config(max_offset=1.0))
    with pytest.raises(ExampleError, match="max_offset"):
        DynamicDataset(*sources, ("codes",), config)
    assert len(DynamicDataset(*sources, ("mixture",), config)[0]["mixture"])


def test_a_mixture_or_source_of_another_length(stored):
    """U2, U10: a recording that is not the one that was listed, a source that is longer than its mixture."""
    data, _ = stored
    table = DataDir(data).table("wav.scp")
    with open(table["m1"], "rb") as file:
        longer = file.read()
    audio.write_audio(table["m1"], np.zeros(17), RATE)
    with pytest.raises(audio.AudioError, match="^E202 .*holds 17 samples, utt2num_samples says 6,400"):
        Dataset(data, None, ["mixture"])[0]
    with open(table["m1"], "wb") as file:
        file.write(longer)
    audio.write_audio(DataDir(data).table("spk1.scp")["m1"], np.ones(6401) / 2, RATE)
    with pytest.raises(audio.AudioError, match="^E231 .*m1: differ in length: wav.scp 6400, spk1.scp 6401 samples"):
        Dataset(data, None, ["sources"])[0]


@pytest.mark.parametrize(("key", "count"), [("a1", 0), ("a1", 10**6)])
def test_frames_that_do_not_fit_the_audio(sources, key, count):
    """A6."""
    data, dump = sources
    table = DataDir(dump).integers("utt2num_frames") | {key: count}
    datadir.write_table(dump / "utt2num_frames", table)
    with pytest.raises(ArkError, match=f"^E305 .*utt2num_frames: {key}: {count} frames of "):
        Dataset(data, dump, ["codes"])


def test_wrong_number_of_samples_in_the_table(sources):
    data, _ = sources
    table = datadir.read_table(data / "utt2num_samples") | {"b1": "17"}
    datadir.write_table(data / "utt2num_samples", table)
    with pytest.raises(audio.AudioError, match="^E202 .*utt2num_samples says 17.*stage 0"):
        dynamic(sources)


@pytest.mark.parametrize("name", ["mixture_latents", "source_latents"])
def test_a_mixture_made_on_the_fly_has_no_latents(sources, name):
    with pytest.raises(ExampleError, match=r"^E109 the latents of a mixture are not the sum .*static"):
        DynamicDataset(*sources, ("mixture", name), DynamicConfig(4))
    with pytest.raises(ExampleError, match=r"^E109 .* need a dump directory"):
        Dataset(sources[0], None, (name,))
