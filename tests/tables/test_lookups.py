"""What tables say when they are asked: by name, by type of task, for classes of the user's own; and their settings."""

import math
import sys
import types
from importlib.machinery import ModuleSpec

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfgkeras.errors import ConfigError, Problem
from sfgkeras.tables.blocks import BLOCKS, find_block
from sfgkeras.tables.candidates import CANDIDATES
from sfgkeras.tables.grouping_schedules import FEWEST_STEPS, Auto, Paper
from sfgkeras.tables.intensities import INTENSITIES, Bounds
from sfgkeras.tables.loaders import LOADERS, gives_values
from sfgkeras.tables.losses import (
    LOSSES,
    TverskySettings,
    default_loss,
    find_loss,
    is_told_by_map,
    loss_aliases,
    takes_one_logit,
)
from sfgkeras.tables.networks import NETWORKS, HyperFaceSettings, MGCNSettings, UNetSettings, find_network, gives_only
from sfgkeras.tables.optimisers import OPTIMISERS
from sfgkeras.tables.refinements import REFINEMENTS
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.schedules import build_schedule, rate_factor
from sfgkeras.tables.tasks import TASK_TYPES, LandmarkSettings, for_type, learns_image, measured_as


class Plain(keras.losses.Loss):
    """Is a loss of the user's own.

    With a second paragraph.
    """

    def call(self, y_true, y_pred):
        return keras.ops.mean(y_pred - y_true, axis=-1)


class Told(Plain):
    """Tells all that a loss may tell."""

    likelihood = "categorical"
    needs_map = True
    start = 0.25
    offset = 0.5


@pytest.fixture
def own(monkeypatch):
    module = types.ModuleType("own_losses_of_a_test")
    module.__file__ = "own_losses.py"
    module.__spec__ = ModuleSpec(module.__name__, None)
    for each in (Plain, Told):
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def test_losses_are_found_by_the_type_that_a_task_is_measured_as():
    assert find_loss("huber", "regression", "") is find_loss("huber", "reconstruction", "")
    assert find_loss("mse", "bounding_box", "").load() is find_loss("mse", "regression", "").load()
    with pytest.raises(ConfigError, match=r"segmentation loss 'dise'.*did you mean 'dice'"):
        find_loss("dise", "segmentation", "")
    with pytest.raises(ConfigError, match="regression loss 'dice'"):
        find_loss("dice", "regression", "")


def test_a_class_of_the_users_own_has_the_likelihood_of_its_task_unless_it_says_otherwise(own):
    of_quantity, of_classes = (find_loss(f"{own}.Plain", kind, "") for kind in ("regression", "segmentation"))
    assert of_quantity.summary == "Is a loss of the user's own"
    assert (of_quantity.likelihood, of_classes.likelihood) == ("gaussian", "categorical")
    assert (of_quantity.needs_map, of_quantity.start, of_quantity.offset) == (False, 1.0, 0.0)
    told = find_loss(f"{own}.Told", "regression", "")
    assert (told.likelihood, told.needs_map, told.start, told.offset) == ("categorical", True, 0.25, 0.5)
    loss = told.load()(name="mine")
    truth = np.zeros((2, 3, 3, 1), "float32")
    np.testing.assert_allclose(loss.per_sample(truth, truth + 2), [2, 2])
    with pytest.raises(ConfigError, match="Missing"):
        find_loss(f"{own}.Missing", "regression", "loss of task 'a'")


@pytest.mark.parametrize(
    ("task_type", "default"),
    [
        ("regression", "rmse"), ("segmentation", "dicecrossentropy"), ("classification", "crossentropy"),
        ("bounding_box", "mse"), ("landmarks", "heat_map"), ("motion", "warping"), ("depth", "depth"),
        ("normals", "normals"), ("reconstruction", "mse"),
    ],
)  # fmt: skip
def test_the_default_loss_of_every_type_is_the_one_that_it_always_had(task_type, default):
    """Saved runs name no loss where it is the default one."""
    assert default_loss(task_type) == default
    assert find_loss(default, task_type, "") is for_type(LOSSES, task_type)[default]


def test_heat_maps_alone_tell_landmarks_by_a_map(own):
    told = {name: is_told_by_map("landmarks", name) for name in LOSSES["landmarks"]}
    assert told == {
        "heat_map": True, "heat_map_coordinates": True, "heat_map_crossentropy": True, "landmarks": False
    }  # fmt: skip
    assert is_told_by_map("landmarks", f"{own}.Told")
    assert not is_told_by_map("landmarks", f"{own}.Plain")
    assert not is_told_by_map("landmarks", "unknown")
    assert not is_told_by_map("motion", "warping"), "of other types it is not asked"


def test_one_logit_is_taken_by_the_binary_loss_alone(own):
    taking = {(kind, name) for kind in TASK_TYPES for name in for_type(LOSSES, kind) if takes_one_logit(kind, name)}
    assert taking == {("segmentation", "binary_crossentropy"), ("classification", "binary_crossentropy")}
    assert not takes_one_logit("segmentation", f"{own}.Plain")


def test_aliases_lead_to_losses_and_say_the_same_for_all_types():
    for alias, name in loss_aliases().items():
        homes = [kind for kind, entries in LOSSES.items() if name in entries]
        assert homes, alias
        assert not any(alias in LOSSES[kind] for kind in homes)
        assert alias == alias.lower()


def test_what_is_the_same_for_all_types_stands_under_an_empty_name():
    assert for_type({"regression": 1, "": 3}, "regression") == 1
    assert for_type({"regression": 1, "": 3}, "reconstruction") == 1, "measured as a regression"
    assert for_type({"reconstruction": 2, "regression": 1}, "reconstruction") == 2, "its own goes first"
    assert for_type({"regression": 1, "": 3}, "segmentation") == 3
    with pytest.raises(KeyError, match="segmentation"):
        for_type({"regression": 1}, "segmentation")
    with pytest.raises(KeyError, match="unknown"):
        for_type({"regression": 1}, "unknown")


def test_types_say_what_they_are_measured_as_and_which_learn_the_image():
    assert {name for name in TASK_TYPES if learns_image(name)} == {"motion", "reconstruction"}
    assert not learns_image("unknown")
    assert {name: measured_as(name) for name in TASK_TYPES if measured_as(name) != name} == {
        "reconstruction": "regression"
    }


def test_columns_of_landmarks_follow_their_patterns():
    settings = LandmarkSettings(dimensions=2)
    assert settings.point_columns(["nose", "ear"]) == ("nose_x", "nose_y", "ear_x", "ear_y")
    assert settings.visibility_columns(["nose", "ear"]) == ("nose_visible", "ear_visible")
    assert LandmarkSettings().point_columns(["a"]) == ("a_x", "a_y", "a_z")
    other = LandmarkSettings(dimensions=3, columns="{axis}-of-{name}", visibility="seen {name}")
    assert other.point_columns(["a"]) == ("x-of-a", "y-of-a", "z-of-a")
    assert other.visibility_columns(["a"]) == ("seen a",)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": "{name}"}, "columns = {name} lacks {name} and {axis}; write e.g. {name}_{axis}"),
        ({"columns": "x_{axis}"}, "lacks {name} and {axis}"),
        ({"visibility": "seen"}, "visibility = seen lacks {name}; write e.g. {name}"),
        ({"lengths": "long: a"}, "has 'long: a', which is no name and two landmarks"),
        ({"lengths": "long: a, a"}, "which is no name and two landmarks"),
        ({"lengths": "long: a, b, c"}, "which is no name and two landmarks"),
        ({"lengths": ": a, b"}, "which is no name and two landmarks"),
        ({"lengths": "a, b"}, "which is no name and two landmarks"),
        ({"lengths": "long: a, b; long: c, d"}, "has 'long' twice; give every length a name"),
    ],
)
def test_patterns_and_lengths_that_cannot_be_are_refused(options, message):
    with pytest.raises(Problem) as refused:
        LandmarkSettings(**options)
    assert message in str(refused.value).replace("'{", "{").replace("}'", "}").replace("'seen'", "seen")


def test_lengths_are_read_by_name():
    found = LandmarkSettings(lengths=" long : a, b ;short: c, d; ").named_lengths()
    assert found == {"long": ("a", "b"), "short": ("c", "d")}
    assert LandmarkSettings().named_lengths() == {}


@pytest.mark.parametrize("passed", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_schedules_follow_their_formulas(passed):
    expected = {
        ("constant", ()): 1.0,
        ("linear", ()): 1 - passed,
        ("polynomial", (("power", 0.9),)): (1 - passed) ** 0.9,
        ("polynomial", (("power", 3.0),)): (1 - passed) ** 3,
        ("cosine", (("end", 0.0),)): (1 + math.cos(math.pi * passed)) / 2,
        ("cosine", (("end", 0.2),)): 0.2 + 0.4 * (1 + math.cos(math.pi * passed)),
        ("steps", (("at", (0.5, 0.9)), ("factor", 0.1))): 0.1 ** ((passed >= 0.5) + (passed >= 0.9)),
    }
    for (name, settings), wanted in expected.items():
        assert build_schedule(name, dict(settings))(passed) == pytest.approx(wanted), name


@given(st.integers(1, 500), st.integers(0, 40))
def test_a_warm_up_rises_by_equal_steps_to_the_full_rate_and_the_schedule_begins_there(steps, warm_up):
    schedule = build_schedule("linear")
    factors = [rate_factor(step, warm_up + steps, schedule, warm_up) for step in range(warm_up + steps)]
    np.testing.assert_allclose(factors[:warm_up], np.arange(1, warm_up + 1) / max(warm_up, 1))
    np.testing.assert_allclose(factors[warm_up:], 1 - np.arange(steps) / steps)
    assert all(0 < factor <= 1 for factor in factors)


def test_a_warm_up_as_long_as_the_training_is_all_of_it():
    assert [rate_factor(step, 3, build_schedule("cosine"), 3) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])


@pytest.mark.parametrize(
    ("bounds", "values", "problem"),
    [
        (Bounds(0.0, above=True), (0.0, 1.0), "must be above 0"),
        (Bounds(0.0, above=True), (0.1, 1.0), ""),
        (Bounds(0.0), (0.0, 1e9), ""),
        (Bounds(1.0), (0.5, 2.0), "must not be below 1"),
        (Bounds(0.0, 1.0), (0.0, 1.0), ""),
        (Bounds(0.0, 1.0), (0.0, 1.1), "must not be above 1"),
        (Bounds(0.0, 1.0), (-0.1, 1.1), "must not be below 0"),
    ],
)
def test_a_range_keeps_to_its_bounds(bounds, values, problem):
    assert bounds.problem(values) == problem


def test_changes_of_intensities_are_made_in_a_fixed_order():
    """Noise comes last: were it before the blur, the blur would take it away again."""
    assert list(INTENSITIES) == [
        f"{name}_range" for name in ("gamma", "contrast", "ghosting", "blur", "low_resolution", "noise")
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rungs": ()}, "is no list of rising fractions"),
        ({"rungs": (0.5, 0.25)}, "is no list of rising fractions"),
        ({"rungs": (0.25, 0.25)}, "is no list of rising fractions"),
        ({"rungs": (0.5, 1.0)}, "rungs"),
        ({"candidates": ()}, "names no candidate; choose of learned"),
        ({"candidates": ("learnt",)}, "has no candidate 'learnt', did you mean 'learned'"),
        ({"candidates": ("shared", "shared")}, "names a candidate twice; name each once"),
        ({"windows": 0}, "windows"),
        ({"tolerance": 1.0}, "tolerance"),
    ],
)
def test_a_search_that_cannot_be_judged_is_refused(options, message):
    with pytest.raises(Problem, match=message):
        Auto(**options)


@given(st.integers(1, 5000))
def test_candidates_are_judged_at_rising_iterations_or_not_at_all(iterations):
    ends = Auto().rung_ends(iterations)
    assert list(ends) == sorted(set(ends))
    assert all(FEWEST_STEPS <= end < iterations for end in ends)
    assert bool(ends) == (round(0.125 * iterations) >= FEWEST_STEPS)
    assert Paper().rung_ends(iterations) == ()


def test_lists_of_a_search_may_be_given_as_lists():
    settings = Auto(rungs=[0.1, 0.2], candidates=["shared"])
    assert (settings.rungs, settings.candidates) == ((0.1, 0.2), ("shared",))
    assert Auto().candidates == tuple(CANDIDATES)


def test_values_come_from_tables_and_from_voxels():
    assert {name for name in LOADERS if gives_values(name)} == {"table", "voxel"}
    assert not gives_values(None)
    assert not gives_values("unknown")


def test_samplers_that_draw_by_a_source_say_so():
    assert {name: (e.needs_source, e.labels, e.whole) for name, e in SAMPLERS.items()} == {
        "uniform": (False, False, False), "weighted": (True, False, False), "balanced": (True, True, False),
        "resize": (False, False, True),
    }  # fmt: skip


def test_the_refinement_none_changes_nothing():
    probabilities = np.random.default_rng(0).random((3, 3, 2))
    assert REFINEMENTS["none"].load()(probabilities, None, None) is probabilities


def test_gradient_descent_has_nesterovs_look_ahead_where_it_is_called_so():
    built = {name: OPTIMISERS[name].load()(learning_rate=0.1) for name in ("sgd", "momentum", "nesterov")}
    assert {name: each.nesterov for name, each in built.items()} == {"sgd": False, "momentum": False, "nesterov": True}


def test_blocks_and_networks_are_found_by_name():
    assert all(callable(find_block(name)) for name in BLOCKS)
    with pytest.raises(ConfigError, match="did you mean 'residual'"):
        find_block("residul")
    with pytest.raises(ConfigError, match="did you mean 'unet'"):
        find_network("unnet", "[NETWORK] name")
    assert find_network("vgg11", "").load() is NETWORKS["vgg11"].load()
    for name, entry in NETWORKS.items():
        for output in ("map", "vector"):
            assert gives_only(name, output) == (set(entry.outputs) == {output})
    assert not gives_only("my.module.Class", "map")


@pytest.mark.parametrize("levels", [1, 3])
def test_a_decoder_starts_at_a_level_that_there_is(levels):
    settings = UNetSettings(levels=levels)
    names = [f"encoder_{n}" for n in range(1, levels + 1)] + ["encoding"]
    names += [f"decoder_{n}" for n in range(levels, 0, -1)]
    assert settings.decoder_starts == ("decoder", "encoder", *names)
    for name in settings.decoder_starts:
        assert UNetSettings(levels=levels, decoder_start=name).decoder_start == name
    with pytest.raises(Problem, match=rf"decoder_start = '?decoder_{levels + 1}'? is no part of the network"):
        UNetSettings(levels=levels, decoder_start=f"decoder_{levels + 1}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (lambda: MGCNSettings(kernel=8), "is even, and a kernel of an even side has no centre; write 9"),
        (lambda: HyperFaceSettings(fused=("conv_5",)), "names 'conv_5', which is no stage before the fifth"),
        (lambda: HyperFaceSettings(fused=("conv_1", "conv_1")), "names a stage twice; choose among conv_1, conv_2"),
        (lambda: TverskySettings(0.0, 0.0), "is 0, and false_positives too; weigh one of them"),
    ],
)
def test_settings_that_make_no_network_or_loss_are_refused(settings, message):
    with pytest.raises(Problem, match=message):
        settings()
    assert MGCNSettings(kernel=9).kernel == 9
    assert HyperFaceSettings(fused=()).fused == ()
    assert TverskySettings(0.0, 1.0).false_negatives == 1.0
