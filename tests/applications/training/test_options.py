"""From the INI file to what trains: every option changes what is built in the way that it says."""

import keras
import numpy as np
import pytest

from sfgkeras.applications.subjects.whole_images import PreparedSubject
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.applications.training import build
from sfgkeras.applications.training.batches import build_augmentation, build_window_source
from sfgkeras.applications.training.build import build_batches, build_losses, build_optimizers
from sfgkeras.applications.training.network import build_network
from sfgkeras.applications.training.timetable import build_timetable

pytestmark = pytest.mark.usefixtures("two_stages")
SMALL = {"NETWORK.name": "two_stages", "NETWORK.width": 1.0}


@pytest.fixture
def make_network(make_config):
    """Returns a function: options by "SECTION.KEY" -> the network of the tiny run with them."""

    def make(options):
        config = make_config(SMALL | options)
        return build_network(config, build_tasks(config), image_channels=1)

    return make


def head(network, task="ct"):
    return network.heads[network.task_names.index(task)]


def kernel_penalty(network):
    """The factor by which the regulariser of a kernel penalises 2, of squares or of absolute values."""
    return float(head(network).projection.kernel_regularizer(keras.ops.full((1,), 2.0)))


def stitch_penalty(network):
    """What the loss adds for a cross-stitch weight of 2."""
    regularizer = network.trunk.units[0].regularizer
    return 0.0 if regularizer is None else float(regularizer(keras.ops.full((1,), 2.0)))


STITCHED = {"NETWORK.sharing": "cross_stitch"}
NETWORK_OPTIONS = [
    ({}, {"NETWORK.keep_prob": 0.75}, lambda network: network.get_config()["dropout"], 0.25),
    ({}, {"NETWORK.bias_initializer": "ones"}, lambda network: float(head(network).projection.bias[0]), 1.0),
    ({}, {"NETWORK.decay": 0.5}, kernel_penalty, 2.0),
    ({"NETWORK.decay": 0.5}, {"NETWORK.reg_type": "L1"}, kernel_penalty, 1.0),
    ({}, {"NETWORK.activation_function": "elu"}, lambda network: network.get_config()["activation"], "elu"),
    ({}, {"NETWORK.batch_norm": "batch"}, lambda network: network.batch_norm, "batch"),
    ({}, {"NETWORK.width": 2.0}, lambda network: [s.filters for s in network.trunk.architecture.stages], [12, 10]),
    (STITCHED, {"MULTITASK.cross_stitch_init": 0.75}, lambda network: float(network.trunk.units[0].alpha[1, 1]), 0.75),
    (STITCHED, {"MULTITASK.cross_stitch_per_channel": "yes"}, lambda network: network.trunk.units[0].alpha.shape,
     (2, 2, 3)),
    (STITCHED, {"MULTITASK.cross_stitch_decay": 0.5}, stitch_penalty, 2.0),
    ({}, {"SYSTEM.rematerialise": "activations"}, lambda network: network.get_config()["rematerialise"], "activations"),
    ({}, {"TASK ct.head_layers": "7, 3"}, lambda network: [p.kernel.shape[-1] for p in head(network).products],
     [7, 3, 1]),
    ({}, {"TASK ct.output_activation": "relu"}, lambda network: head(network).head.activation, "relu"),
    ({}, {"TASK ct.tap": "first"}, lambda network: network.trunk.architecture.taps, (0, 1)),
    ({}, {"TASK ct.weight": 3.0}, lambda network: network.balancer.current_weights(), {"ct": 3.0, "organs": 1.0}),
    ({}, {"TASK ct.adversarial_weight": 0.5}, lambda network: {t: a.weight for t, a in network.adversaries.items()},
     {"ct": 0.5}),
    ({"TRAINING.balancing": "cagrad"}, {"TRAINING.cagrad_c": 0.25},
     lambda network: network.get_config()["balancing"]["c"], 0.25),
    ({"TRAINING.balancing": "uncertainty"}, {"TASK ct.log_sigma": 0.5},
     lambda network: float(network.balancer.log_sigma["ct"]), 0.5),
    ({"NETWORK.name": "unet", "NETWORK.width": 0.05, "NETWORK.unet_levels": 2}, {"NETWORK.deep_supervision": 1},
     lambda network: sorted(network.deep_names), ["ct@decoder_2", "organs@decoder_2"]),
    ({"NETWORK.name": "unet", "NETWORK.width": 0.05}, {"NETWORK.unet_levels": 2},
     lambda network: max(network.trunk.architecture.levels), 2),
]  # fmt: skip


@pytest.mark.parametrize(
    ("given", "option", "look", "expected"),
    [pytest.param(*row, id=next(iter(row[1])).replace(" ", "_")) for row in NETWORK_OPTIONS],
)
def test_the_network_is_as_the_option_says(make_network, given, option, look, expected):
    assert look(make_network(given)) != expected
    assert look(make_network(given | option)) == expected


def test_kernels_begin_as_the_initialiser_says(make_network):
    (usual, other) = (
        head(make_network({"NETWORK.weight_initializer": name})).projection.kernel_initializer
        for name in ("he_normal", "glorot_uniform")
    )
    assert type(usual) is not type(other)


def test_settings_of_the_optimiser_and_of_its_schedule_are_those_of_the_file(make_config):
    config = make_config({
        "TRAINING.optimiser": "momentum", "TRAINING.momentum_momentum": 0.25,
        "TRAINING.max_iter": 12, "TRAINING.warm_up": 2, "TRAINING.lr_schedule": "polynomial",
        "TRAINING.polynomial_power": 2,
    })  # fmt: skip
    (optimizer,) = build_optimizers(config)
    assert optimizer.momentum == 0.25
    timetable = build_timetable(config, 2)
    # Half of the ten iterations behind the warm-up are over before the eighth.
    assert [timetable.rate_factor(iteration) for iteration in (1, 2, 8)] == [0.5, 1.0, 0.25]


def test_logs_validations_and_notes_are_as_often_as_the_file_says(make_config):
    config = make_config({
        "TRAINING.max_iter": 9, "TRAINING.tensorboard_every_n": 4, "TRAINING.validation_every_n": 3,
        "TRAINING.grouping_every_n": 7,
    })  # fmt: skip
    timetable = build_timetable(config, 2)
    assert [i for i in range(1, 10) if timetable.logs(i)] == [1, 4, 8, 9]
    assert [i for i in range(1, 10) if timetable.validates(i)] == [3, 6, 9]
    assert build.grouping_interval(config, 9) == 7


@pytest.mark.parametrize(
    ("options", "look", "expected"),
    [
        ({"bias_field_range": "-1, 1", "bf_order": 2}, lambda found: found.bias_field_order, 2),
        ({"isotropic_scaling": "yes"}, lambda found: found.isotropic_scaling, True),
        ({"antialiasing": "no"}, lambda found: found.antialiasing, False),
        ({"random_flipping_axes": "0, 1"}, lambda found: tuple(found.flip_axes), (0, 1)),
        ({"rotation_angle": "-5, 7"}, lambda found: tuple(found.rotation_angle), (-5, 7)),
        (
            {"do_elastic_deformation": "yes", "num_ctrl_points": 6, "deformation_sigma": 3, "proportion_to_deform": 1},
            lambda found: (found.deformation.num_control_points, found.deformation.sigma, found.deformation.proportion),
            (6, 3.0, 1.0),
        ),
    ],
)
def test_windows_are_changed_as_the_file_says(make_config, options, look, expected):
    augmentation = build_augmentation(make_config({f"TRAINING.{key}": value for key, value in options.items()}))
    assert look(augmentation) == expected


def test_windows_that_are_not_smoothed_are_no_augmentation_by_themselves(make_config):
    still = {"TRAINING.rotation_angle": "", "TRAINING.scaling_percentage": "", "TRAINING.antialiasing": "no"}
    assert build_augmentation(make_config(still)) is None


def subjects(shape=(30, 28, 3)):
    volume = np.zeros((*shape, 1), np.float32)
    labels = np.zeros(shape, np.uint8)
    return [PreparedSubject(name, volume, {"ct": volume, "organs": labels}) for name in "ab"]


def test_windows_have_a_frame_and_come_in_runs_of_one_subject(make_config):
    config = make_config({"MULTITASK.loss_border": 3, "TRAINING.sample_per_volume": 4, "NETWORK.batch_size": 1})
    source = build_window_source(config, build_tasks(config), subjects(), augment=False)
    assert source.windows_per_volume == 4
    assert source.loss_border == 3


def test_a_validation_has_as_many_batches_as_the_file_says(make_config):
    import tensorflow as tf

    config = make_config({"TRAINING.validation_max_iter": 3, "NETWORK.batch_size": 2})
    held_out = subjects()
    batches = build_batches(config, build_tasks(config), subjects(), held_out, tf.distribute.get_strategy(), 0)
    with batches.consumed():
        assert len(list(batches.validation)) == 3


def test_so_many_batches_are_made_ahead_by_so_many_threads(make_config, monkeypatch):
    """Asked of what is built: with exact repetition switched on, TensorFlow makes no batch of a generator ahead."""
    import tensorflow as tf

    threads, ahead, prefetch = [], [], tf.data.Dataset.prefetch

    def counted(source, batch_size, start_iteration, rows, num_threads):
        threads.append(num_threads)
        return tf.data.Dataset.range(1000)

    def noted(dataset, buffer_size, *args, **kwargs):
        ahead.append(buffer_size)
        return prefetch(dataset, buffer_size, *args, **kwargs)

    monkeypatch.setattr(build, "training_dataset", counted)
    monkeypatch.setattr(tf.data.Dataset, "prefetch", noted)
    config = make_config({"NETWORK.queue_length": 7, "SYSTEM.num_threads": 5})
    batches = build_batches(config, build_tasks(config), subjects(), [], tf.distribute.get_strategy(), 0)
    with batches.consumed():
        next(iter(batches.training))
    assert 7 in ahead
    assert threads == [5]


def test_losses_have_the_settings_of_their_sections(make_config, make_network):
    options = {"TASK ct.loss": "huber", "TASK ct.huber_delta": 0.25}
    config = make_config(SMALL | options)
    assert build_losses(build_tasks(config), make_network(options))["ct"].delta == 0.25
