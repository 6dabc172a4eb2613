"""Feature maps side by side: one scale for a stage, all runs and slices; kept in a file and drawn again."""

import numpy as np
import pytest

from sfgkeras.analysis.feature_maps import (
    FeatureMaps,
    draw_feature_maps,
    mean_map,
    read_feature_maps,
    write_feature_maps,
)


@pytest.fixture
def maps():
    """Two runs, the second without the deepest stage."""
    rng = np.random.default_rng(0)

    def of(*sizes):
        return tuple(rng.normal(size=size) for size in sizes)

    first = {"one": of((8, 6), (8, 6)), "two": of((4, 3), (4, 3)), "three": of((2, 2), (2, 2))}
    second = {"one": of((8, 6), (8, 6)), "two": of((4, 3), (4, 3))}
    return FeatureMaps(("base", "less"), ("s1", "s2"), of((8, 6), (8, 6)), {"base": first, "less": second})


def test_a_map_is_the_mean_over_features():
    features = np.arange(12.0).reshape(2, 2, 3)
    assert mean_map(features).tolist() == [[1, 4], [7, 10]]


def test_a_stage_has_one_scale_for_all_runs_and_slices(maps):
    everything = np.concatenate([image.ravel() for run in maps.runs for image in maps.maps[run]["two"]])
    assert maps.limits("two") == (everything.min(), everything.max())
    figure = draw_feature_maps(maps, 1)
    drawn = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(drawn) == 2 + 3 + 2
    second = [image for image in drawn if image.get_array().shape == (4, 3)]
    assert [image.get_clim() for image in second] == [maps.limits("two")] * 2
    np.testing.assert_array_equal(second[1].get_array(), maps.maps["less"]["two"][1])


def test_a_stage_that_a_run_has_not_is_said_to_be_missing(maps):
    figure = draw_feature_maps(maps, 0)
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("no such\nstage") == 1
    assert {"base", "less"} <= set(texts)
    assert maps.stages == ["one", "two", "three"]


def test_maps_are_read_back_from_their_file(maps, tmp_path):
    write_feature_maps(tmp_path / "maps.npz", maps)
    again = read_feature_maps(tmp_path / "maps.npz")
    assert (again.runs, again.slices, again.stages) == (maps.runs, maps.slices, maps.stages)
    for run in maps.runs:
        for stage, images in maps.maps[run].items():
            for first, second in zip(images, again.maps[run][stage], strict=True):
                np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(again.images[1], maps.images[1])
    (tmp_path / "maps.npz").write_bytes(b"no archive")
    assert read_feature_maps(tmp_path / "maps.npz") is None
    assert read_feature_maps(tmp_path / "none.npz") is None
