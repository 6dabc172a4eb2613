"""Landmarks in INI files: names, columns, dimensions, and what does not go together."""

import pytest

from sfgkeras.config import read_config
from sfgkeras.errors import ConfigError

INI = """
[MR]
path_to_search = ./images
spatial_window_size = {window}
[POINTS]
csv_file = ./points.csv
loader = table
[NETWORK]
name = {network}
window_sampling = resize
[SYSTEM]
model_dir = ./model
[TRAINING]
max_iter = 1
[MULTITASK]
image = MR
[TASK points]
type = landmarks
target = POINTS
attribute = left, right
"""


def read(tmp_path, overrides=(), window="32, 32, 1", network="unet"):
    path = tmp_path / "run.ini"
    path.write_text(INI.format(window=window, network=network))
    return read_config(path, [(name, str(value)) for name, value in dict(overrides).items()])


@pytest.mark.parametrize(("window", "dimensions"), [("32, 32, 1", 2), ("16, 16, 16", 3)])
def test_landmarks_have_the_dimensions_of_the_window_and_heat_maps_unless_they_say_otherwise(
    tmp_path, window, dimensions
):
    config = read(tmp_path, window=window)
    task = config.tasks["points"]
    assert (task.loss, task.metrics, task.settings_of("loss")) == ("heat_map", ("radial_error",), {"sigma": 2.0})
    assert task.settings_of("type")["dimensions"] == dimensions
    assert config.target_kind("points") == "points"
    assert config.sees_windows
    assert not read(tmp_path, {"task.points.loss": "landmarks"}).sees_windows
    path = tmp_path / "effective.ini"
    path.write_text(config.effective_text())
    assert read_config(path).effective_text() == config.effective_text()


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("task.points.attribute", "", "the names of the landmarks"),
        ("task.points.attribute", "left, left", "names a landmark twice"),
        ("task.points.landmarks_columns", "{name}", "lacks {name} and {axis}"),
        ("task.points.landmarks_visibility", "seen", "lacks {name}"),
        ("task.points.landmarks_lengths", "long: left, rigt", "length 'long' to 'rigt', which is no landmark"),
        ("task.points.landmarks_dimensions", "4", "must be at most 3"),
        ("task.points.head_pooling", "flatten", "has no meaning for landmarks that loss = heat_map tells"),
        ("task.points.per", "window", "places of a landmarks are those of the whole image"),
        ("task.points.loss", "mse", "belongs to"),
        ("task.points.heat_map_crossentropy_sigma", "2", "is a setting of heat_map_crossentropy, and loss = heat_map"),
        ("task.points.num_classes", "2", "has no meaning for a landmarks"),
        ("task.points.target", "MR", "needs [MR] to give values"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tmp_path, key, value, message):
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, {key: value})
    assert message in str(caught.value)


def test_heat_maps_need_a_network_of_maps_and_coordinates_a_window_of_their_dimensions(tmp_path):
    with pytest.raises(ConfigError, match=r"NETWORK\] name = vgg11 gives none; write loss = landmarks"):
        read(tmp_path, network="vgg11")
    assert read(tmp_path, {"task.points.loss": "landmarks"}, network="vgg11").tasks["points"].loss == "landmarks"
    three = {"task.points.landmarks_dimensions": 3}
    assert read(tmp_path, three).tasks["points"].settings_of("type")["dimensions"] == 3
    with pytest.raises(ConfigError, match="slices of 32, 32, 1 tell coordinates of two"):
        read(tmp_path, {**three, "task.points.loss": "landmarks"})
    with pytest.raises(ConfigError, match="gives x and y, and windows are 16, 16, 16"):
        read(tmp_path, {"task.points.landmarks_dimensions": 2}, window="16, 16, 16")
    framed = {"multitask.loss_border": 2, "network.window_sampling": "uniform"}
    with pytest.raises(ConfigError, match="loss_border = '2' cannot be used with heat maps, which task"):
        read(tmp_path, framed)


def test_an_adversary_judges_maps_and_is_refused_for_coordinates_and_meta_training(tmp_path):
    weighed = {"task.points.adversarial_weight": 0.01}
    assert read(tmp_path, weighed).tasks["points"].adversarial_weight == 0.01
    with pytest.raises(ConfigError, match="adversarial_weight.*has no meaning for a task that is no map"):
        read(tmp_path, {**weighed, "task.points.loss": "landmarks"})
    with pytest.raises(ConfigError, match="adversarial_weight.*does not go with .* meta_learning = first_order"):
        read(tmp_path, {**weighed, "training.meta_learning": "first_order"})
