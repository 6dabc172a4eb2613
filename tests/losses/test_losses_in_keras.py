import subprocess
import sys

import keras
import numpy as np
import pytest

from sfgkeras import losses

TABLES = (losses.REGRESSION_LOSSES, losses.SEGMENTATION_LOSSES, losses.CLASSIFICATION_LOSSES)
CLASSES = sorted({loss for table in TABLES for loss in table.values()}, key=lambda loss: loss.__name__)


def two_task_network():
    image = keras.Input((8, 8, 1), name="image")
    features = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    outputs = {
        "ct": keras.layers.Conv2D(1, 1, name="ct")(features),
        "organs": keras.layers.Conv2D(3, 1, name="organs")(features),
    }
    return keras.Model(image, outputs)


@pytest.fixture
def batch():
    rng = np.random.default_rng(3)
    image = rng.normal(size=(4, 8, 8, 1)).astype("float32")
    targets = {
        "ct": rng.normal(size=(4, 8, 8, 1)).astype("float32"),
        "organs": rng.integers(0, 3, (4, 8, 8)).astype("int32"),
    }
    mask = np.zeros((4, 8, 8), "float32")
    mask[:, 2:6, 2:6] = 1
    return image, targets, {"ct": mask, "organs": mask}


def compiled_network():
    keras.utils.set_random_seed(0)
    network = two_task_network()
    network.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss={"ct": losses.RootMeanSquaredError(), "organs": losses.DiceCrossEntropy()},
        loss_weights={"ct": 1.0, "organs": 0.5},
    )
    return network


def test_fit_learns_with_dicts_of_outputs_and_of_spatial_masks(batch):
    network = compiled_network()
    history = network.fit(*batch[:2], sample_weight=batch[2], epochs=25, batch_size=4, verbose=0).history
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert np.all(np.isfinite(history["ct_loss"]))


def test_keras_reports_the_masked_loss_of_every_task(batch):
    image, targets, masks = batch
    network = compiled_network()
    report = network.evaluate(image, targets, sample_weight=masks, verbose=0, return_dict=True)
    outputs = network(image)
    inner = np.s_[:, 2:6, 2:6]
    ct = losses.RootMeanSquaredError()(targets["ct"][inner], outputs["ct"][inner])
    organs = losses.DiceCrossEntropy()(targets["organs"][inner], outputs["organs"][inner])
    np.testing.assert_allclose(report["ct_loss"], ct, rtol=1e-5)
    np.testing.assert_allclose(report["organs_loss"], organs, rtol=1e-5)
    np.testing.assert_allclose(report["loss"], ct + 0.5 * organs, rtol=1e-5)


def test_nothing_outside_the_mask_moves_a_weight(batch):
    image, targets, masks = batch
    spoilt = {
        "ct": np.where(masks["ct"][..., None] > 0, targets["ct"], 1e4).astype("float32"),
        "organs": np.where(masks["organs"] > 0, targets["organs"], 2).astype("int32"),
    }
    trained = []
    for chosen in (targets, spoilt):
        network = compiled_network()
        network.fit(image, chosen, sample_weight=masks, epochs=2, batch_size=4, shuffle=False, verbose=0)
        trained.append(network.get_weights())
    for first, second in zip(*trained, strict=True):
        np.testing.assert_array_equal(first, second)


def test_a_saved_network_remembers_its_losses(batch, tmp_path):
    network = compiled_network()
    network.fit(*batch[:2], sample_weight=batch[2], verbose=0)
    network.save(tmp_path / "network.keras")
    loaded = keras.models.load_model(tmp_path / "network.keras")
    arguments = {"sample_weight": batch[2], "verbose": 0, "return_dict": True}
    np.testing.assert_allclose(
        loaded.evaluate(*batch[:2], **arguments)["loss"],
        network.evaluate(*batch[:2], **arguments)["loss"],
        rtol=1e-6,
    )


@pytest.mark.parametrize("loss_class", CLASSES)
def test_every_loss_survives_serialisation_with_its_arguments(loss_class):
    loss = loss_class(reduction="sum", name="mine")
    for argument in ("delta", "beta", "sensitivity_ratio", "false_positives", "positive_weight", "distances"):
        if hasattr(loss, argument):
            value = [1.0, 2.0, 3.0] if argument == "distances" else 0.25
            loss = loss_class(**{argument: value}, reduction="sum", name="mine")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(copy) is loss_class
    assert copy.get_config() == loss.get_config()


REPLICAS = """
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from sfgkeras import losses, metrics

strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
truth, mask = np.zeros((2, 3, 1), "float32"), np.ones((2, 3), "float32")
with strategy.scope():
    metric = metrics.MeanAbsoluteError()

def step():
    rank = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.float32)
    prediction = tf.ones((2, 3, 1)) * (1 + 2 * rank)
    metric.update_state(truth, prediction, mask * (3 - 2 * rank))
    return losses.MeanAbsoluteError()(truth, prediction, mask)

total = strategy.reduce("sum", strategy.run(tf.function(step)), axis=None)
assert abs(float(total) - (1 + 3) / 2) < 1e-6, total
assert abs(float(metric.result()) - (3 * 1 + 1 * 3) / 4) < 1e-6, metric.result()
"""


@pytest.mark.slow
def test_over_two_replicas_losses_average_and_metrics_add_up():
    done = subprocess.run([sys.executable, "-c", REPLICAS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_network_in_mixed_precision_is_trained_on_a_single_precision_loss(batch):
    image, targets, masks = batch
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network = compiled_network()
        history = network.fit(image, targets, sample_weight=masks, epochs=3, verbose=0).history
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.all(np.isfinite(history["loss"]))
    value = losses.DiceCrossEntropy()(targets["organs"], network(image)["organs"], masks["organs"])
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
