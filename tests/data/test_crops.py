import numpy as np
import pytest

from codecsep.data import audio
from codecsep.data.crops import CropDataset, CropError
from codecsep.data.datadir import write_table


@pytest.fixture
def sources(tmp_path):
    """A long ramp and a short one of other values, so that each sample tells where it comes from."""
    waves = {"long": np.arange(4000) / 32768, "short": -np.arange(1, 301) / 32768}
    for key, samples in waves.items():
        audio.write_audio(tmp_path / f"{key}.wav", samples, 1000)
    write_table(tmp_path / "wav.scp", {key: tmp_path / f"{key}.wav" for key in waves})
    return tmp_path


def test_a_crop_is_a_piece_of_the_prompt_it_names(sources):
    crops = CropDataset(sources, 0.5, 20, seed=0)
    assert crops.lengths == [25] * 20
    for index in range(20):
        item = crops[index]
        key, start = item["id"].split("@")
        assert item["wav"].shape == (500,) and item["wav"].dtype == np.float32
        if key == "long":
            np.testing.assert_array_equal(item["wav"] * 32768, int(start) + np.arange(500))
        else:  # a short prompt is followed by others
            np.testing.assert_array_equal(item["wav"][:300] * 32768, -np.arange(1, 301))


def test_items_are_a_function_of_seed_epoch_and_index(sources):
    one, two = CropDataset(sources, 0.5, 20, seed=0), CropDataset(sources, 0.5, 20, seed=0)
    one[3]  # reading an item changes no other
    assert [one[i]["id"] for i in range(20)] == [two[i]["id"] for i in range(20)]
    two.set_epoch(1)
    assert [one[i]["id"] for i in range(20)] != [two[i]["id"] for i in range(20)]


def test_drawn_in_proportion_to_length(sources):
    ids = [CropDataset(sources, 0.1, 2000, seed=0)[i]["id"].split("@")[0] for i in range(2000)]
    assert ids.count("short") / 2000 == pytest.approx(300 / 4300, abs=0.03)


def test_messages(sources, tmp_path):
    with pytest.raises(CropError, match="run --stage 0"):
        CropDataset(tmp_path / "nothing", 1.0, 10, 0)
    with pytest.raises(CropError, match="above 0"):
        CropDataset(sources, 0.0, 10, 0)
