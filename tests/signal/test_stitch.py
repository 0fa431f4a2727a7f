import numpy as np
import pytest

from codecsep.signal import stitch


@pytest.mark.parametrize("num_samples", [1, 79, 80, 81, 100, 139, 140, 141, 1000])
def test_windows_cover_everything_and_overlap_enough(num_samples):
    spans = stitch.windows(num_samples, 80, 20)
    assert spans[0][0] == 0 and spans[-1][1] == num_samples
    assert all(stop - start == min(80, num_samples) for start, stop in spans)
    assert all(stop - after >= 20 for (_, stop), (after, _) in zip(spans, spans[1:], strict=False))
    assert len(set(spans)) == len(spans)


@pytest.mark.parametrize("size, overlap", [(80, 80), (80, -1), (0, 0)])
def test_impossible_windows(size, overlap):
    with pytest.raises(ValueError, match="cannot overlap"):
        stitch.windows(100, size, overlap)


def sources(num_samples, count=2):
    noise = np.random.default_rng(0).standard_normal((count, num_samples // 200 + 1))
    return np.repeat(noise, 200, axis=1)[:, :num_samples].astype(np.float32)


@pytest.mark.parametrize("overlap", [512, 1500])
def test_stitching_swapped_windows_gives_the_signal_back(overlap):
    whole = sources(20000, 3)
    spans = stitch.windows(20000, 4000, overlap)
    orders = [np.random.default_rng(i).permutation(3) for i in range(len(spans))]
    pieces = [whole[order, start:stop] for order, (start, stop) in zip(orders, spans, strict=True)]
    joined = stitch.stitch(pieces, spans)
    assert np.allclose(joined, whole[orders[0]], atol=1e-5)


def test_one_window_is_itself():
    whole = sources(900)
    assert np.array_equal(stitch.stitch([whole], [(0, 900)]), whole)


def test_a_speaker_who_is_missing_in_a_window_is_silent_there_and_a_new_one_takes_the_free_row():
    whole = sources(10000, 3)
    spans = stitch.windows(10000, 4000, 1000)
    pieces = [whole[:2, 0:4000], whole[1:2, 3000:7000], whole[[2, 1], 6000:10000]]
    joined = stitch.stitch(pieces, spans)
    assert joined.shape == (2, 10000)
    assert np.allclose(joined[1], whole[1], atol=1e-5)
    assert not joined[0, 4000:6000].any()
    assert np.allclose(joined[0, 7000:], whole[2, 7000:], atol=1e-5)


def test_a_window_with_more_speakers_opens_new_rows():
    whole = sources(7000, 3)
    joined = stitch.stitch([whole[:2, :4000], whole[[2, 0, 1], 3000:]], stitch.windows(7000, 4000, 1000))
    assert np.allclose(joined[:2], whole[:2], atol=1e-5)
    assert not joined[2, :3000].any() and np.allclose(joined[2, 4000:], whole[2, 4000:])


def test_windows_without_overlap_keep_their_order():
    whole = sources(8000)
    joined = stitch.stitch([whole[:, :4000], whole[:, 4000:]], stitch.windows(8000, 4000, 0))
    assert np.array_equal(joined, whole)


def test_similarity_of_silence_is_zero():
    assert stitch.similarity(np.zeros((1, 600), np.float32), sources(600)).tolist() == [[0.0, 0.0]]
