"""Figures and tables of which tasks share what: the numbers they show, and where they stand."""

import numpy as np
import pytest

from sfgkeras.analysis.figures import write_sharing_figures
from sfgkeras.analysis.learned_figures import draw_learned
from sfgkeras.analysis.sharing_figures import draw_course, draw_sharing, draw_sharing_compared, stages_of
from sfgkeras.analysis.sharing_plots import plot_sharing
from sfgkeras.analysis.sharing_record import (
    SharingRecord,
    has_moved,
    learned_tables,
    mean_matrices,
    mean_shared,
    sharing_rows,
    sharing_table,
)

PAIR = np.array([[1.0, 0.6], [0.2, 1.0]])
TRIPLE = np.array([[1.0, 0.1, 0.2], [0.3, 1.0, 0.4], [0.5, 0.6, 1.0]])
TASKS = ("ct", "organs", "age")


def record_of(*matrices, tasks=TASKS, **stages):
    stages = {"stage_1": np.stack(matrices), **stages}
    return SharingRecord(np.arange(len(matrices)) * 10, stages, tasks[: matrices[0].shape[0]])


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_two_tasks_have_a_bar_per_stage_as_high_as_the_mean_of_both_directions():
    figure = draw_sharing(record_of(PAIR, stage_2=np.eye(2)[None]))
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.4, 0.0])
    assert texts(axes) == ["0.40", "0.00"]
    (between, _) = axes.collections
    np.testing.assert_allclose(between.get_segments()[0][:, 1], [0.6, 0.2])
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] >= 1


def test_more_tasks_have_a_matrix_per_stage_on_the_scale_from_0_to_1():
    figure = draw_sharing(record_of(TRIPLE / 2 + np.eye(3) / 2, stage_2=TRIPLE[None]))
    first, second = (axes for axes in figure.axes if axes.images)
    for axes in (first, second):
        assert axes.images[0].get_clim() == (0, 1)
        assert axes.images[0].get_array().mask.tolist() == np.eye(3, dtype=bool).tolist()
    # Rows are the tasks that use, columns those with whom; the diagonal says nothing.
    assert texts(second) == ["0.10", "0.20", "0.30", "0.40", "0.50", "0.60"]
    assert [label.get_text() for label in first.get_yticklabels()] == list(TASKS)


def test_networks_stand_side_by_side_by_stage_even_where_one_has_not_all():
    networks = {"sfg": {"a": PAIR, "b": np.eye(2)}, "tree": {"b": PAIR}}
    axes = draw_sharing_compared(networks, TASKS[:2]).axes[0]
    assert texts(axes) == ["0.40", "0.00", "0.40"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["sfg", "tree"]
    assert stages_of({"tree": {"b": PAIR}, "sfg": {"a": PAIR, "b": PAIR}}) == ["a", "b"]


def test_networks_of_three_tasks_have_a_line_of_matrices_each():
    figure = draw_sharing_compared({"sfg": {"a": TRIPLE, "b": TRIPLE}, "tree": {"b": TRIPLE}}, TASKS)
    assert sum(bool(axes.images) for axes in figure.axes) == 3
    assert "ct, organs, age" in figure.get_supxlabel()


def test_the_course_is_the_mean_over_all_pairs_at_every_note():
    record = record_of(np.eye(3), TRIPLE)
    (line,) = draw_course(record).axes[0].lines
    np.testing.assert_allclose(line.get_xydata(), [[0, 0], [10, 0.35]])


def test_the_course_is_drawn_only_where_something_has_moved(tmp_path):
    assert has_moved(record_of(np.eye(3), TRIPLE))
    still = record_of(TRIPLE, TRIPLE)
    assert not has_moved(still)
    assert [figure.name for figure in write_sharing_figures(tmp_path, still)] == ["sharing"]
    assert (tmp_path / "sharing.png").stat().st_size > 1000


def test_the_page_has_the_numbers_of_the_printed_figure():
    bars = plot_sharing(record_of(PAIR)).data[0]
    assert bars.y == pytest.approx([0.4])
    assert bars.error_y.array == pytest.approx([0.2])
    plotted = plot_sharing(record_of(TRIPLE))
    assert plotted.layout.coloraxis.cmin == 0
    assert plotted.layout.coloraxis.cmax == 1
    np.testing.assert_allclose(plotted.data[0].z[1], [0.3, np.nan, 0.4])


def test_tables_have_every_ordered_pair_and_the_mean():
    assert sharing_rows({"a": PAIR}, TASKS[:2]) == [
        {"stage": "a", "task": "ct", "other": "organs", "shared": 0.6},
        {"stage": "a", "task": "organs", "other": "ct", "shared": 0.2},
    ]
    (line,) = sharing_table({"a": PAIR}, TASKS[:2])
    assert line == {"stage": "a", "ct with organs": 0.6, "organs with ct": 0.2, "mean": 0.4}
    assert mean_shared(TRIPLE) == pytest.approx(0.35)
    assert np.isnan(mean_shared(np.ones((1, 1))))


def test_matrices_of_several_seeds_are_averaged_stage_by_stage():
    found = mean_matrices([{"a": PAIR}, {"a": np.eye(2), "b": PAIR}])
    np.testing.assert_allclose(found["a"], [[1, 0.3], [0.1, 1]])
    np.testing.assert_array_equal(found["b"], PAIR)


def test_what_was_learned_is_laid_out_by_quantity():
    weights = np.array([[[0.75, 0.25], [0.25, 0.25]], [[0.0, 0.0], [np.nan, np.nan]]])
    learned = {
        "stitch_weights/a": weights,
        "stitch_weights/b": np.array([[0.5, 0.5], [0.5, 0.5]]),
        "beta/ct": np.array([0.1, 0.2, 0.7]),
        "strength": np.array(3.0),
    }
    tables = learned_tables(learned, TASKS[:2])
    assert tables["stitch_weights"] == [
        {"stage": "a", "": "ct", "ct": "0.5 ± 0.25", "organs": "0.25 ± 0"},
        {"stage": "a", "": "organs", "ct": "0 ± 0", "organs": "-"},
        {"stage": "b", "": "ct", "ct": "0.5", "organs": "0.5"},
        {"stage": "b", "": "organs", "ct": "0.5", "organs": "0.5"},
    ]
    assert tables["beta"] == [{"stage": "ct", "1": "0.1", "2": "0.2", "3": "0.7"}]
    assert tables["strength"] == [{"value": "3"}]


def test_what_was_learned_over_tasks_is_drawn_stage_by_stage_around_zero():
    learned = {
        "alpha/a": np.array([[[1.0, 0.5], [0.0, -1.0]], [[0.25, 0.25], [np.nan, np.nan]]]),
        "alpha/b": np.eye(2),
        "beta/a": np.array([0.25, 0.75]),
        "beta/b": np.array([0.5, 1.0]),
        "strength": np.array(3.0),
        "classes/a": np.eye(3),
    }
    figure = draw_learned(learned, TASKS[:2])
    alphas, betas = figure.subfigs
    first, second = (axes for axes in alphas.axes if axes.images)
    np.testing.assert_array_equal(first.images[0].get_array().filled(np.nan), [[0.75, -0.5], [0.25, np.nan]])
    assert first.images[0].get_clim() == second.images[0].get_clim() == (-1, 1)
    assert texts(first) == ["0.75", "-0.50", "0.25"]
    assert [line.get_ydata().tolist() for line in betas.axes[0].lines] == [[0.25, 0.5], [0.75, 1.0]]
    assert draw_learned({"strength": np.array(3.0)}, TASKS) is None


def test_a_record_of_other_tasks_is_refused():
    history = {"iterations": np.array([0]), "a": PAIR[None]}
    with pytest.raises(ValueError, match=r"has 2 x 2 tasks, 3 are expected"):
        SharingRecord.from_history(history, TASKS)
    with pytest.raises(ValueError, match="has no tasks"):
        SharingRecord.from_history({"iterations": np.array([0])}, TASKS)
