"""Row G14: what is in two sets is found; codes and audio that do not last equally long are found too."""

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


def test_disjoint_sets_pass(tmp_path):
    folders = [sources(tmp_path / "train", {"a": "a.wav"}), sources(tmp_path / "test", {"b": "b.wav"}),
               mixtures(tmp_path / "m1", {"x": ("a", "c")}), mixtures(tmp_path / "m2", {"x": ("b", "d")})]  # fmt: skip
    splits.check_folders(folders, "fix it")


def test_the_same_id(tmp_path):
    folders = [sources(tmp_path / "train", {"a": "a.wav", "b": "b.wav"}), sources(tmp_path / "test", {"b": "c.wav"})]
    with pytest.raises(LeakError, match=r"^E130 1 utterances are in .*train and in .*test, first b \(fix: fix it\)$"):
        splits.check_folders(folders, "fix it")


def test_the_same_recording_under_another_name(tmp_path):
    (tmp_path / "a.wav").write_text("")
    (tmp_path / "link.wav").symlink_to(tmp_path / "a.wav")
    folders = [
        sources(tmp_path / "train", {"a": tmp_path / "a.wav"}),
        sources(tmp_path / "test", {"b": tmp_path / "link.wav"}),
    ]
    with pytest.raises(LeakError, match="E130 1 recordings"):
        splits.check_folders(folders, "fix it")


def test_the_same_source_in_mixtures_of_two_sets(tmp_path):
    folders = [mixtures(tmp_path / "train", {"x": ("a", "b")}), mixtures(tmp_path / "test", {"y": ("c", "a")})]
    with pytest.raises(LeakError, match="E130 1 sources are in .*train and in .*test, first a"):
        splits.check_folders(folders, "fix it")


@pytest.mark.parametrize(
    ("frames", "is_ok"), [(49, True), (50, True), (51, True), (48, False), (52, False), (0, False)]
)
def test_codes_last_as_long_as_their_audio(frames, is_ok):
    if is_ok:
        check_span(frames, 16000, 16000, INFO, "a", "again")
        return
    with pytest.raises(ArkError, match=rf"^E305 a: {frames} frames of 320 samples; .* 16000 samples at 16000 Hz"):
        check_span(frames, 16000, 16000, INFO, "a", "again")


@pytest.mark.parametrize(("frames", "is_ok"), [(1, True), (51, True), (52, False), (0, False)])
def test_a_source_may_end_before_its_mixture(frames, is_ok):
    if is_ok:
        check_span(frames, 0, 16000, INFO, "a", "again")
        return
    with pytest.raises(ArkError, match="E305 a: .* 0 to 16000 samples"):
        check_span(frames, 0, 16000, INFO, "a", "again")
