import keras
import numpy as np
import pytest

from sfgkeras import metrics
from sfgkeras.errors import ConfigError, lookup


def logits_of(labels, num_classes):
    return 5 * np.eye(num_classes, dtype="float32")[labels] + 0.1


def test_errors_pool_all_voxels_of_all_batches():
    rng = np.random.default_rng(0)
    mae, rmse = metrics.MeanAbsoluteError(), metrics.RootMeanSquaredError()
    seen = []
    for batch_size in (3, 1, 2):
        truth, prediction = rng.normal(size=(2, batch_size, 5, 4, 2)).astype("float32")
        mask = rng.integers(0, 2, (batch_size, 5, 4)).astype("float32")
        mae.update_state(truth, prediction, mask)
        rmse.update_state(truth, prediction, mask)
        seen.append((prediction - truth)[mask > 0])
    residual = np.concatenate(seen)
    np.testing.assert_allclose(mae.result(), np.abs(residual).mean(), rtol=1e-5)
    np.testing.assert_allclose(rmse.result(), np.sqrt((residual**2).mean()), rtol=1e-5)


def test_samples_can_be_weighted_by_one_number_each():
    mae = metrics.MeanAbsoluteError()
    mae.update_state(np.zeros((2, 3, 1)), np.array([1.0, 5.0])[:, None, None] * np.ones((2, 3, 1)), [3.0, 1.0])
    np.testing.assert_allclose(mae.result(), (3 * 1 + 5) / 4, rtol=1e-6)


def test_dice_is_taken_from_the_counts_of_everything_seen():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 4, (2, 5, 8, 8))
    mask = rng.integers(0, 2, (5, 8, 8))
    dice = metrics.Dice(num_classes=4)
    for part in (slice(0, 2), slice(2, 5)):
        dice.update_state(truth[part], logits_of(predicted[part], 4), mask[part])
    inside = mask > 0
    expected = [
        2
        * ((truth == c) & (predicted == c) & inside).sum()
        / (((truth == c) & inside).sum() + ((predicted == c) & inside).sum())
        for c in range(4)
    ]
    np.testing.assert_allclose(dice.per_class(), expected, rtol=1e-6)
    np.testing.assert_allclose(dice.result(), np.mean(expected[1:]), rtol=1e-6)


def test_a_class_that_is_nowhere_is_left_out_of_the_mean():
    dice = metrics.Dice(num_classes=5)
    truth, predicted = np.array([[0, 1, 1, 2]]), np.array([[0, 1, 0, 3]])
    dice.update_state(truth, logits_of(predicted, 5))
    np.testing.assert_allclose(dice.result(), np.mean([2 / 3, 0, 0]), rtol=1e-6)


def test_background_alone_found_as_such_is_perfect():
    dice = metrics.Dice(num_classes=3)
    dice.update_state(np.zeros((1, 4, 4), int), logits_of(np.zeros((1, 4, 4), int), 3))
    assert float(dice.result()) == 1


def test_accuracy_counts_voxels_or_samples():
    voxels, samples = metrics.Accuracy(), metrics.Accuracy()
    truth, predicted = np.array([[0, 1, 2, 2]]), np.array([[0, 1, 1, 2]])
    voxels.update_state(truth, logits_of(predicted, 3), np.array([[1, 1, 1, 0]]))
    np.testing.assert_allclose(voxels.result(), 2 / 3, rtol=1e-6)
    samples.update_state(truth[0], logits_of(predicted[0], 3))
    samples.update_state(truth[0][:, None], logits_of(predicted[0], 3))
    np.testing.assert_allclose(samples.result(), 3 / 4, rtol=1e-6)


def all_metrics():
    pairs = {(kind, name): metric for kind, table in metrics.METRICS.items() for name, metric in table.items()}
    return [(metric(num_classes=3) if name in ("dice", "jaccard") else metric()) for (_, name), metric in pairs.items()]


@pytest.mark.parametrize("metric", all_metrics(), ids=lambda metric: type(metric).__name__)
def test_without_data_a_metric_is_nan_and_a_reset_forgets_all(metric):
    assert np.isnan(metric.result())
    truth, mask = np.zeros((2, 4, 4), int), np.zeros((2, 4, 4))
    prediction = np.ones((2, 4, 4, 1)) if metric.name in ("mae", "rmse") else logits_of(np.ones((2, 4, 4), int), 3)
    if metric.name in ("abs_rel", "rmse_log", "delta_1"):
        truth, prediction = np.ones((2, 4, 4)), np.ones((2, 4, 4, 1))
    if metric.name in ("mean_angle", "within_30"):
        truth, prediction = np.full((2, 4, 4, 3), 3**-0.5), np.ones((2, 4, 4, 3))
    if metric.name == "box_iou":
        truth, prediction, mask = np.array([[0.0, 0, 1, 1]] * 2), np.array([[0.0, 0, 1, 0.5]] * 2), np.zeros(2)
    if metric.name == "radial_error":
        truth, prediction, mask = np.full((2, 3, 2), 0.5), np.zeros((2, 6)), np.zeros((2, 3))
    if metric.name == "warped_mae":
        truth, prediction = np.ones((2, 4, 4, 2)), np.zeros((2, 4, 4, 2))
    metric.update_state(truth, prediction)
    assert np.isfinite(metric.result())
    metric.update_state(truth, prediction, mask)
    assert np.isfinite(metric.result())
    metric.reset_state()
    assert np.isnan(metric.result())


@pytest.mark.parametrize("metric", all_metrics(), ids=lambda metric: type(metric).__name__)
def test_metrics_survive_serialisation(metric):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert type(copy) is type(metric)
    assert copy.get_config() == metric.get_config()


def test_metrics_and_losses_of_one_name_do_not_replace_each_other():
    from sfgkeras import losses

    for first, second in ((losses.MeanAbsoluteError, metrics.MeanAbsoluteError),):
        for owner in (first, second):
            written = keras.saving.serialize_keras_object(owner())
            assert type(keras.saving.deserialize_keras_object(written)) is owner


def test_every_metric_knows_its_direction_and_is_found_by_its_ini_name():
    directions = {
        (kind, name): metric.higher_is_better
        for kind, table in metrics.METRICS.items()
        for name, metric in table.items()
    }
    assert directions == {
        ("regression", "mae"): False,
        ("regression", "rmse"): False,
        ("segmentation", "dice"): True,
        ("segmentation", "accuracy"): True,
        ("segmentation", "jaccard"): True,
        ("classification", "accuracy"): True,
        ("bounding_box", "box_iou"): True,
        ("landmarks", "radial_error"): False,
        ("motion", "warped_mae"): False,
        ("depth", "abs_rel"): False,
        ("depth", "rmse_log"): False,
        ("depth", "delta_1"): True,
        ("normals", "mean_angle"): False,
        ("normals", "within_30"): True,
        ("reconstruction", "mae"): False,
        ("reconstruction", "rmse"): False,
    }
    assert lookup(metrics.METRICS["segmentation"], "Dice", "metric") is metrics.Dice
    with pytest.raises(ConfigError, match="unknown metric 'dise', did you mean 'dice'"):
        lookup(metrics.METRICS["segmentation"], "dise", "metric")


def test_dice_needs_two_classes():
    with pytest.raises(ValueError, match="num_classes = 1 must be 2 or more"):
        metrics.Dice(num_classes=1)


def test_keras_passes_spatial_masks_to_weighted_metrics():
    image = keras.Input((4, 4, 1))
    outputs = {
        "ct": keras.layers.Activation("linear", name="ct")(image),
        "organs": keras.layers.Conv2D(2, 1, name="organs")(image),
    }
    network = keras.Model(image, outputs)
    network.compile(
        loss={"ct": "mse", "organs": None},
        weighted_metrics={
            "ct": [metrics.MeanAbsoluteError()],
            "organs": [metrics.Dice(2), metrics.Accuracy()],
        },
    )
    values = np.arange(16.0, dtype="float32").reshape(1, 4, 4, 1)
    targets = {"ct": np.zeros_like(values), "organs": np.zeros((1, 4, 4), "int32")}
    mask = np.zeros((1, 4, 4), "float32")
    mask[0, 0] = 1
    report = network.evaluate(values, targets, sample_weight={"ct": mask, "organs": mask}, verbose=0, return_dict=True)
    np.testing.assert_allclose(report["ct_mae"], np.mean([0, 1, 2, 3]), rtol=1e-6)
    assert {"organs_dice", "organs_accuracy"} <= set(report)


def test_a_factor_turns_errors_into_the_unit_of_the_target():
    truth, prediction = np.array([[0.0, 1.0]]), np.array([[0.5, 1.5]])
    for metric in (metrics.MeanAbsoluteError(factor=1024), metrics.RootMeanSquaredError(factor=1024)):
        metric.update_state(truth, prediction)
        np.testing.assert_allclose(metric.result(), 512, rtol=1e-6)
        again = type(metric).from_config(metric.get_config())
        again.update_state(truth, prediction)
        np.testing.assert_allclose(again.result(), 512, rtol=1e-6)
    with pytest.raises(ValueError, match="factor = 0 must be above 0"):
        metrics.MeanAbsoluteError(factor=0)
