"""Row G14: what is in two sets is found; codes and audio that do not last equally long are found too."""

from dataclasses import replace

import pytest

from codecsep.data import datadir, splits
from codecsep.data.ark import ArkError, CodecInfo
from codecsep.data.spans import check_span
from codecsep.data.splits import LeakError

INFO = CodecInfo("toy", "f" * 64, 16000, 50.0, 320, 8, 512)


def sources(folder, rows):
    datadir.write_table(folder / "wav.scp", rows)
    return folder


def mixtures(folder, source_ids):
    for name in ("wav.scp", "spk1.scp", "spk2.scp"):
        datadir.write_table(folder / name, {key: f"{folder}/{name}/{key}.wav" for key in source_ids})
    for speaker in (0, 1):
        datadir.write_table(
            folder / f"utt2source_spk{speaker + 1}", {key: ids[speaker] for key, ids in source_ids.items()}
        )
    return folder


def check(**sets):
    splits.check_folders(sets, "fix it")


def test_disjoint_sets_pass(tmp_path):
    train = [sources(tmp_path / "a_sources", {"a": "a.wav", "c": "c.wav"}), mixtures(tmp_path / "a", {"x": ("a", "c")})]
    test = [sources(tmp_path / "b_sources", {"b": "b.wav", "d": "d.wav"}), mixtures(tmp_path / "b", {"x": ("b", "d")})]
    check(train=train, test=test)


def test_the_same_id(tmp_path):
    train, test = sources(tmp_path / "a", {"a": "a.wav", "b": "b.wav"}), sources(tmp_path / "b", {"b": "c.wav"})
    with pytest.raises(LeakError, match=r"^E130 1 utterances are in train and in test, first b \(fix: fix it\)$"):
        check(train=[train], test=[test])


def test_the_same_recording_under_another_name(tmp_path):
    (tmp_path / "a.wav").write_text("")
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    train = sources(tmp_path / "a", {"a": tmp_path / "a.wav"})
    test = sources(tmp_path / "b", {"b": tmp_path / "link.wav"})
    with pytest.raises(LeakError, match="E130 1 recordings are in train and in test"):
        check(train=[train], test=[test])


def test_the_same_source_in_mixtures_of_two_sets(tmp_path):
    train, test = mixtures(tmp_path / "a", {"x": ("a", "b")}), mixtures(tmp_path / "b", {"y": ("c", "a")})
    with pytest.raises(LeakError, match="E130 1 utterances are in train and in test, first a"):
        check(train=[train], test=[test])


def test_a_mixture_of_a_source_that_training_may_mix_anew(tmp_path):
    train, test = sources(tmp_path / "a", {"a": "a.wav"}), mixtures(tmp_path / "b", {"y": ("c", "a")})
    with pytest.raises(LeakError, match="E130 1 utterances are in train and in test, first a"):
        check(train=[train], dev=[], test=[test])


@pytest.mark.parametrize(("frames", "is_ok"), [(1, True), (51, True), (52, False), (0, False)])
def test_a_source_may_end_before_its_mixture(frames, is_ok):
    if is_ok:
        check_span(frames, 0, 16000, INFO, "a", "again")
        return
    with pytest.raises(ArkError, match="E305 a: .* 0 to 16000 samples"):
        check_span(frames, 0, 16000, INFO, "a", "again")


@pytest.mark.parametrize(("frames", "is_ok"), [(49, True), (52, True), (54, True), (55, False), (48, False)])
def test_a_codec_may_fill_its_last_chunk(frames, is_ok):
    chunked = replace(INFO, chunk=4)
    if is_ok:
        check_span(frames, 16000, 16000, chunked, "a", "again")
        return
    with pytest.raises(ArkError, match="E305 a: "):
        check_span(frames, 16000, 16000, chunked, "a", "again")
