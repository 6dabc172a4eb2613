"""Figures of the grouping probabilities: files whole and readable, and what they show."""

import json
import os

import numpy as np
import pytest

from sfgkeras.analysis.activation_maps import choose_maps, draw_activations, read_maps, write_maps
from sfgkeras.analysis.figures import GROUPING_FIGURES, write_curve_figure, write_figures
from sfgkeras.analysis.grouping_figures import draw_density, draw_shares, draw_trajectories, settled_shares
from sfgkeras.analysis.grouping_record import GroupingRecord
from sfgkeras.analysis.interactive import plot_density, plot_shares, plot_trajectories


def make_record(num_tasks, layers=2, notes=4, filters=6, seed=0):
    rng = np.random.default_rng(seed)
    values = {
        f"sfg_{layer + 1}": rng.dirichlet([1.0] * (num_tasks + 1), size=(notes, filters)).astype("float32")
        for layer in range(layers)
    }
    return GroupingRecord(np.arange(notes) * 10, values, (*[f"task {n}" for n in range(num_tasks)], "shared"))


@pytest.mark.parametrize("num_tasks", [1, 2, 3])
def test_every_figure_is_written_as_png_pdf_and_page_that_loads_nothing(tmp_path, num_tasks):
    from PIL import Image

    written = write_figures(tmp_path / "figures", make_record(num_tasks))
    assert [figure.name for figure in written] == list(GROUPING_FIGURES)
    for figure in written:
        png, pdf, html = figure.paths
        with Image.open(png) as image:
            assert min(image.size) > 200
            # Something is drawn: not one colour only.
            assert len(image.convert("L").getcolors(256)) > 10
        assert pdf.read_bytes().startswith(b"%PDF")
        page = html.read_text(encoding="utf-8")
        assert 'src="plotly.min.js"' in page
        assert "https://cdn" not in page
    assert (tmp_path / "figures" / "plotly.min.js").stat().st_size > 1e6
    assert not [name for name in os.listdir(tmp_path / "figures") if name.endswith(".tmp")]


def test_groups_that_are_fixed_have_shares_and_no_course(tmp_path):
    one_hot = np.eye(4)[[3, 3, 0]][None].repeat(2, axis=0)
    names = ("a", "b", "c", "shared")
    fixed = GroupingRecord(np.array([0, 10]), {"conv": one_hot}, names)
    assert [figure.name for figure in write_figures(tmp_path / "fixed", fixed)] == ["group_shares"]
    # What was drawn, or is undecided, is not fixed.
    moved = np.stack([one_hot[0], one_hot[0][::-1]])
    undecided = np.full_like(one_hot, 0.25)
    assert not any(GroupingRecord(fixed.iterations, {"conv": p}, names).is_fixed for p in (moved, undecided))


def test_the_same_record_gives_the_same_files(tmp_path):
    first = write_figures(tmp_path / "a", make_record(2))
    second = write_figures(tmp_path / "b", make_record(2))
    for one, other in zip(first, second, strict=True):
        for path, twin in zip(one.paths[:2], other.paths[:2], strict=True):
            assert path.read_bytes() == twin.read_bytes(), path.name


def test_triangles_are_named_by_their_tasks_and_there_is_one_per_pair_and_layer():
    record = make_record(3)
    for draw in (draw_density, draw_trajectories):
        texts = [text.get_text() for axes in draw(record).axes for text in axes.texts]
        assert texts.count("task 0") == texts.count("task 1") == texts.count("task 2") == 4
        assert texts.count("all others") == 6
    figure = plot_density(record).to_dict()
    corners = [
        (axes["baxis"]["title"]["text"], axes["caxis"]["title"]["text"], axes["aaxis"]["title"]["text"])
        for name, axes in figure["layout"].items()
        if name.startswith("ternary")
    ]
    assert len(corners) == 6
    assert corners.count(("task 0", "task 2", "all others")) == 2


def test_the_density_of_the_page_has_its_mass_in_the_corner_of_the_group():
    one_hot = np.zeros((1, 5, 3), "float32")
    one_hot[..., 1] = 1.0
    record = GroupingRecord(np.array([0]), {"sfg_1": one_hot}, ("ct", "organs", "shared"))
    (trace,) = plot_density(record).data
    heaviest = int(np.argmax(trace.marker.color))
    # a is drawn on top (shared), b left (first task), c right (second task).
    assert (trace.a[heaviest], trace.b[heaviest], trace.c[heaviest]) == (0, 0, 1)


def test_bars_are_shares_of_the_groups_by_layer():
    record = make_record(2)
    figure = draw_shares(record)
    heights = [[bar.get_height() for bar in container] for container in figure.axes[0].containers]
    np.testing.assert_allclose(np.sum(heights, axis=0), 100)
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["task 0", "task 1", "shared"]
    bars = [trace for trace in plot_shares(record).data if trace.xaxis == "x"]
    np.testing.assert_allclose([bar.y for bar in bars], heights)


def test_paths_on_the_page_begin_and_end_where_p_does():
    record = make_record(2, layers=1, notes=5)
    filters, mean = plot_trajectories(record).data
    expected = record.layers["sfg_1"].mean(axis=1)
    np.testing.assert_allclose(np.stack([mean.b, mean.c, mean.a], axis=-1), expected, atol=1e-6)
    first = np.stack([filters.b, filters.c, filters.a], axis=-1)[:5]
    np.testing.assert_allclose(first, record.layers["sfg_1"][:, 0], atol=1e-6)


def test_settled_shares_rise_to_the_part_that_ever_settles():
    p = np.full((3, 4, 2), 0.5)
    p[1:, 0], p[2:, 1], p[:, 2] = [0.95, 0.05], [0.05, 0.95], [0.99, 0.01]
    times, shares = settled_shares(np.array([0, 10, 20]), p)
    assert times.tolist() == [0, 10, 20]
    np.testing.assert_allclose(shares, [25, 50, 75])
    times, shares = settled_shares(np.array([0, 10, 20]), np.full((3, 4, 2), 0.5))
    assert shares.tolist() == [0]


def test_curves_join_training_and_validation(tmp_path):
    columns = {
        "iteration": np.array([1, 2, 3]),
        "loss": np.array([3.0, 2.0, 1.0]),
        "validation_loss": np.array([np.nan, 2.5, np.nan]),
    }
    figure = write_curve_figure(tmp_path, columns)
    assert {path.name for path in figure.paths} <= set(os.listdir(tmp_path))
    training, validation = figure.interactive.data
    assert (training.name, validation.name) == ("training", "validation")
    assert training.xaxis == validation.xaxis
    assert (validation.x.tolist(), validation.y.tolist()) == ([2], [2.5])


def maps_of_known_filters():
    # Two layers of 5 filters: entropies rise with the number within a group; filter 4 is dead in the first layer.
    p = np.array([[1.0, 0, 0], [0.9, 0.05, 0.05], [0.5, 0.3, 0.2], [0, 0, 1.0], [0.1, 0.1, 0.8]])
    activations = np.random.default_rng(0).normal(size=(2, 4, 6, 5)).astype("float32")
    silent = activations.copy()
    silent[..., 4] = 1e-9
    images = np.zeros((2, 4, 6), "float32")
    return choose_maps(
        {"sfg_1": silent, "sfg_2": activations},
        {"sfg_1": p, "sfg_2": p},
        images,
        ["a, slice 1", "b, slice 2"],
        ("ct", "organs", "shared"),
        40,
    ), activations


def test_the_surest_and_the_least_sure_filter_of_every_group_are_chosen_and_dead_ones_listed():
    maps, activations = maps_of_known_filters()
    chosen = {(entry.layer, entry.group, entry.kind): entry.filter for entry in maps.filters}
    assert chosen == {
        ("sfg_1", 0, "lowest"): 0,
        ("sfg_1", 0, "highest"): 2,
        ("sfg_1", 2, "lowest"): 3,
        ("sfg_2", 0, "lowest"): 0,
        ("sfg_2", 0, "highest"): 2,
        ("sfg_2", 2, "lowest"): 3,
        ("sfg_2", 2, "highest"): 4,
    }
    assert maps.dead == {"sfg_1": [4], "sfg_2": []}
    np.testing.assert_array_equal(maps.filters[1].maps, activations[..., 2])


def test_maps_survive_the_disk_and_damage_is_no_maps(tmp_path):
    maps, _ = maps_of_known_filters()
    path = tmp_path / "maps.npz"
    write_maps(path, maps)
    found = read_maps(path)
    assert (found.iteration, found.slices, found.dead) == (40, maps.slices, maps.dead)
    for one, other in zip(found.filters, maps.filters, strict=True):
        assert (one.layer, one.group, one.kind, one.filter) == (other.layer, other.group, other.kind, other.filter)
        np.testing.assert_array_equal(one.maps, other.maps)
    path.write_bytes(path.read_bytes()[:200])
    assert read_maps(path) is None
    assert read_maps(tmp_path / "none.npz") is None


def test_activation_figures_are_one_per_slice(tmp_path):
    maps, _ = maps_of_known_filters()
    written = write_figures(tmp_path, None, maps)
    assert [figure.name for figure in written] == ["activations_1", "activations_2"]
    titles = [axes.get_title() for axes in draw_activations(maps, 0).axes]
    assert "filter 0\nH = 0.00" in titles
    assert "slice 2" in json.loads(written[1].interactive.to_json())["layout"]["title"]["text"]
