"""`benchmarks/pets_peer.py`: who is tested when, and what the table says; without PyTorch."""

import pytest

from sfgkeras.data.subjects import read_split

KINDS = {f"pet{number}": str(number % 2) for number in range(11)}


@pytest.fixture
def pets_peer(load_benchmark):
    return load_benchmark("pets_peer")


def test_every_photo_is_tested_in_one_fold_and_trains_in_the_others(pets_peer, tmp_path):
    tested = []
    for fold in (1, 2, 3):
        part = pets_peer.Part("ours_convolution", 4, fold)
        config = pets_peer.write_config(pets_peer.QUICK, tmp_path, part, KINDS, 3)
        split = read_split(config.system.dataset_split_file)
        assert set(split["training"]) == set(KINDS) - set(split["inference"])
        tested += split["inference"]
        assert config.system.seed == 4
        assert config.network.settings_of("name")["upsampling"] == "convolution"
        assert config.window_size == (32, 32, 1)
    assert sorted(tested) == sorted(KINDS)


def rows(network, dice, parameters=7):
    costs = {"seconds": 1.0, "parameters": parameters, "jaccard": 0.5, "voxel_accuracy": 0.5}
    return [
        {"network": network, "seed": seed, "fold": 1, "subject": subject_id, "dice": value + 0.1 * seed, **costs}
        for seed in (0, 1)
        for subject_id, value in zip(KINDS, dice, strict=True)
    ]


@pytest.mark.parametrize(("less", "verdict"), [(0.009, "met"), (0.011, "MISSED")])
def test_the_goal_is_what_ours_may_lack_of_the_better_peer(pets_peer, less, verdict):
    better = [0.5 + number / 100 for number in range(11)]
    worse, ours = ([value - gap for value in better] for gap in (0.2, less))
    text = pets_peer.markdown(
        rows("monai", worse) + rows("monai_as_ours", better) + rows("ours", ours), pets_peer.QUICK
    )
    assert f"mean Dice -{less:.4f} against the better peer" in text
    assert text.rstrip().endswith(f"{verdict}.")
    # The smallest two-sided p of eleven pairs that all differ alike.
    assert f"| {2 / 2**11:.2g} | 1.00 | 7 |" in text
    assert "11 photos of 32 x 32" in text
