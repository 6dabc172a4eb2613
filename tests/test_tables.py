"""The names that INI files may use are those that the code has: none is offered in vain, none is hidden."""

import ast
import functools
from pathlib import Path

import numpy as np
import pytest

from sfgkeras.config import choices
from sfgkeras.config.sections import Evaluation, Inference, Network, Preprocessing, System, Training
from sfgkeras.config.task_sections import InputSource, Multitask, Task
from sfgkeras.settings import described
from sfgkeras.tables.losses import LOSSES
from sfgkeras.tables.metrics import METRICS
from sfgkeras.tables.networks import NETWORKS
from sfgkeras.tables.optimisers import OPTIMISERS
from sfgkeras.tables.padding import PADDING_MODES
from sfgkeras.tables.sharing import SHARING
from sfgkeras.tables.tasks import TASK_TYPES
from sfgkeras.values import Reads

ROOT = Path(__file__).parents[1]


def chosen(section, key):
    """The names that a key of a section takes."""
    reads = next(item for item in section.model_fields[key].metadata if isinstance(item, Reads))
    return set(reads.form.replace("`", "").split(" / "))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_has_the_outputs_that_its_entry_says(name):
    assert NETWORKS[name].load().usual_head in NETWORKS[name].outputs


@pytest.mark.parametrize("name", SHARING)
def test_learned_and_constant_sharing_are_what_they_are_called(name):
    from sfgkeras.networks import VGG11

    network = VGG11({"a": 1, "b": 2}, sharing=name, width=1 / 16, seed=0)
    network.build((None, None, None, 1))
    probabilities = network.grouping_probabilities()
    trained = any("grouping_logits" in variable.path for variable in network.trainable_variables)
    assert trained == SHARING[name].learned
    is_one_hot = all(set(np.unique(p)) <= {0.0, 1.0} for p in probabilities.values())
    assert (is_one_hot or not probabilities) == SHARING[name].constant
    assert SHARING[name].load().name == name


@pytest.mark.parametrize("name", choices.ACTIVATIONS)
def test_every_activation_builds_and_is_not_linear(name):
    from sfgkeras.layers.activation import build_activation

    x = np.linspace(-2, 8, 101, dtype=np.float32)[:, None]
    y = np.asarray(build_activation(name)(x))
    assert y.shape == x.shape
    assert np.isfinite(y).all()
    assert np.abs(np.diff(y[:, 0], 2)).max() > 1e-4


@pytest.mark.parametrize("name", sorted({*choices.WEIGHT_INITIALIZERS, *choices.BIAS_INITIALIZERS}))
def test_every_initialiser_builds_and_follows_its_seed(name):
    from sfgkeras.architecture.layer_settings import seeded_initializer

    shape = (3, 3, 4, 8)
    values = [np.asarray(seeded_initializer(name, seed)(shape)) for seed in (1, 1, 2)]
    assert values[0].shape == shape
    np.testing.assert_array_equal(values[0], values[1])
    if name not in ("zeros", "ones"):
        assert np.abs(values[0] - values[2]).max() > 1e-3


@pytest.mark.parametrize("name", TASK_TYPES)
def test_a_type_of_task_has_a_class_for_each_kind_of_its_targets_a_default_loss_and_metrics(name):
    from sfgkeras.applications.tasks.table import class_for

    entry, kinds = TASK_TYPES[name], []
    for gives_values in (False, True):
        found = class_for(name, gives_values)
        settings = Task(type=name, target="A", attribute="a" if gives_values else None, num_classes=2)
        kinds.append(found and found("a", "A", settings, InputSource()).target_kind)
    assert kinds == [entry.of_volume, entry.of_value]
    assert LOSSES[name]
    assert METRICS[name]


def test_columns_of_boxes_are_the_parts_of_the_task():
    from sfgkeras.applications.tasks.bounding_box import box_parts
    from sfgkeras.config.settle import BOX_COLUMNS

    assert {rank: ", ".join(box_parts(rank)) for rank in (2, 3)} == BOX_COLUMNS


@pytest.mark.parametrize("name", OPTIMISERS)
def test_every_optimiser_lowers_a_parabola(name):
    import keras

    from sfgkeras.applications.training.optimizers import build_optimizer

    variable = keras.Variable(np.asarray([2.0], np.float32))
    optimizer = build_optimizer(name, 0.05)
    optimizer.build([variable])
    assert float(optimizer.learning_rate) == pytest.approx(0.05)
    for _ in range(20):
        optimizer.apply([2 * variable.value], [variable])
    assert abs(float(variable[0])) < 1.9


def test_optimisers_have_the_settings_of_the_file_and_else_those_that_they_always_had():
    import keras

    from sfgkeras.applications.training.optimizers import build_optimizer

    old = {
        "adam": keras.optimizers.Adam, "nadam": keras.optimizers.Nadam, "adagrad": keras.optimizers.Adagrad,
        "rmsprop": keras.optimizers.RMSprop, "sgd": keras.optimizers.SGD,
        "momentum": functools.partial(keras.optimizers.SGD, momentum=0.9),
        "nesterov": functools.partial(keras.optimizers.SGD, momentum=0.9, nesterov=True),
    }  # fmt: skip
    assert set(old) == set(OPTIMISERS)
    for name, build in old.items():
        assert {**build_optimizer(name, 0.05).get_config(), "name": ""} == {**build(0.05).get_config(), "name": ""}
    for name, entry in OPTIMISERS.items():
        for each in described(entry.settings_class()).values():
            other = each.default / 2 or 0.25
            config = build_optimizer(name, 0.05, settings={each.name: other}).get_config()
            assert config[each.name] == pytest.approx(other)


def test_precisions():
    import keras

    from sfgkeras.applications.training.network import PRECISIONS

    assert set(choices.PRECISIONS) == set(PRECISIONS)
    assert all(keras.DTypePolicy(policy).variable_dtype == "float32" for policy in PRECISIONS.values())


def test_strategies():
    from sfgkeras.applications.workers.strategies import build_strategy
    from sfgkeras.errors import ConfigError

    for name in choices.STRATEGIES:
        if name == "mirrored":
            with pytest.raises(ConfigError, match="two devices"):
                build_strategy(name)
        else:
            assert build_strategy(name).num_replicas_in_sync == 1


@pytest.mark.parametrize("mode", PADDING_MODES)
def test_every_padding_mode_is_numpys(mode):
    assert np.pad(np.arange(5.0), 2, mode=mode).shape == (9,)


def test_foregrounds_and_norm_types():
    from sfgkeras.preprocessing.foreground import FOREGROUND_RULES, MULTIMOD_FUSIONS
    from sfgkeras.preprocessing.histogram import NORM_TYPES

    assert set(choices.FOREGROUND_TYPES) == set(FOREGROUND_RULES)
    assert chosen(Network, "multimod_foreground_type") == set(MULTIMOD_FUSIONS)
    assert set(choices.NORM_TYPES) == set(NORM_TYPES)


def test_loaders():
    from sfgkeras.data.nifti import LOADERS
    from sfgkeras.data.sources import FileSource
    from sfgkeras.tables.loaders import LOADERS as table

    assert {name for name, entry in table.items() if entry.load() is FileSource} == set(LOADERS)


def test_layouts_of_folders():
    from sfgkeras.data.file_search import LAYOUTS

    assert set(choices.LAYOUTS) == set(LAYOUTS)


def test_masks_routings_statistics_and_blendings():
    from sfgkeras.data.aggregators import SlabAggregator
    from sfgkeras.layers.filter_grouping import MASK_SOURCES
    from sfgkeras.layers.normalization import STATISTICS
    from sfgkeras.layers.routing import ROUTINGS

    assert chosen(Inference, "masks") == set(MASK_SOURCES)
    assert chosen(Multitask, "group_connection") == set(ROUTINGS)
    assert chosen(Network, "batch_norm") == set(STATISTICS)
    for blending in chosen(Inference, "blending"):
        assert SlabAggregator((4, 4, 4), 1, (4, 4, 4), (0, 0, 0), blending) is not None


def test_phases():
    from sfgkeras.applications.subjects.cohort import PHASES

    assert chosen(Inference, "dataset_to_infer") == {*PHASES, "all"}


# How the applications call a section that they read from.
READ_AS = {
    System: {"system"},
    Preprocessing: {"preprocessing", "section"},
    Network: {"network", "settings"},
    Training: {"training"},
    Inference: {"inference"},
    Evaluation: {"evaluation"},
    Multitask: {"multitask"},
    Task: {"settings"},
    InputSource: {"source", "source_settings", "settings", "first", "sources"},
}
# What is settled when the file is read, and has no meaning of its own afterwards.
SETTLED = {
    (Training, "loss_type"),
    (Multitask, "image"), (Multitask, "tasks"), (Multitask, "sampler"), (Multitask, "layer_scale"),
    # The authors' names for settings of a sharing mechanism, which code reads from there (config/mechanism.py).
    *((Multitask, key) for key in ("learn_categorical", "use_hardcat", "batch_sampling", "entropy_decay")),
    *((Multitask, key) for key in ("cost_weight", "group_multiple")),
    *((Multitask, key) for key in ("cross_stitch_init", "cross_stitch_per_channel", "cross_stitch_decay")),
    # Read by the name that a stopping rule gives it (`task_keys`).
    (Task, "importance"),
    # Read one by one by the table of augmentations (`tables.intensities`).
    *((Training, f"{name}_range") for name in ("gamma", "contrast", "ghosting", "blur", "low_resolution", "noise")),
    (Multitask, "constant_grouping"), (Task, "type"), (Task, "target"), (InputSource, "spatial_window_size"),
}  # fmt: skip


@functools.cache
def keys_read():
    """`(name of the object, attribute)` for every attribute that the applications read."""
    found = set()
    for path in (ROOT / "applications").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                base = node.value.value if isinstance(node.value, ast.Subscript) else node.value
                found.add((getattr(base, "attr", getattr(base, "id", None)), node.attr))
    return found


@pytest.mark.parametrize(
    ("section", "key"),
    [
        pytest.param(
            section,
            key,
            id=f"{section.__name__}-{key}",
        )
        for section in READ_AS
        for key in section.model_fields
        if (section, key) not in SETTLED
    ],
)
def test_no_key_is_read_from_the_file_and_then_forgotten(section, key):
    assert any((name, key) in keys_read() for name in READ_AS[section])
