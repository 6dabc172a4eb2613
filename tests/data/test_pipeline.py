"""Windows through tf.data."""

import gc
import subprocess
import sys
import textwrap
import time
import weakref

import numpy as np
import pytest

from sfgkeras.applications.workers.strategies import repeat_no_longer
from sfgkeras.data.augmentation import Augmentation
from sfgkeras.data.pipeline import close, original_errors, training_dataset, validation_dataset
from sfgkeras.data.samplers import UniformSampler
from sfgkeras.data.windows import PreparedSubject, WindowSource
from sfgkeras.errors import DataError

KINDS = {"organs": "labels", "ct": "map", "age": "value", "sex": "class"}


class BreakingSampler(UniformSampler):
    """Fails on one subject, after the checks."""

    def start(self, subject, rng):
        if subject.subject_id == "p3":
            raise DataError("subject 'p3': the file is gone; mount the disk again")
        return super().start(subject, rng)


def source_of(window=(8, 6, 1), sampler=UniformSampler, border=1, seed=0):
    subjects = []
    for number in range(4):
        rng = np.random.default_rng(number)
        targets = {
            "ct": rng.normal(size=(12, 11, 10)),
            "organs": rng.integers(0, 3, (12, 11, 10)),
            "age": np.array(float(number)),
            "sex": np.array(number % 2),
        }
        subjects.append(PreparedSubject(f"p{number}", rng.normal(size=(12, 11, 10, 1)), targets))
    augmentation = Augmentation(rotation_angle=(-10, 10), scaling_percentage=(-10, 10))
    return WindowSource(subjects, window, sampler(window), augmentation, KINDS, loss_border=border, seed=seed)


def batches(dataset, count):
    result = []
    for image, targets, weights in dataset.take(count):
        result.append([image.numpy(), *(targets[t].numpy() for t in KINDS), *(weights[t].numpy() for t in KINDS)])
    return result


def expected(source, indices):
    image, targets, weights = source.batch(indices)
    return [image, *(targets[t] for t in KINDS), *(weights[t] for t in KINDS)]


def assert_equal(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.parametrize("window", [(8, 6, 1), (8, 6, 4)])
def test_batch_i_holds_the_windows_i_times_batch_size_onwards(num_threads, window):
    source = source_of(window)
    made = batches(training_dataset(source, 5, num_threads=num_threads), 8)  # all are held at the same time
    for i, batch in enumerate(made):
        assert_equal(batch, expected(source, range(5 * i, 5 * i + 5)))


def test_shapes_are_known_before_the_first_batch():
    source = source_of()
    image, targets, weights = training_dataset(source, 5).element_spec
    assert image.shape.as_list() == [5, 10, 8, 1]
    assert targets["organs"].shape.as_list() == [5, 10, 8]
    assert targets["organs"].dtype == np.int32
    assert targets["ct"].shape.as_list() == [5, 10, 8, 1]
    assert targets["age"].shape.as_list() == [5, 1]
    assert targets["sex"].shape.as_list() == weights["sex"].shape.as_list() == [5]
    assert weights["ct"].shape.as_list() == [5, 10, 8]


def test_no_iterator_has_a_tuner_that_it_would_wait_for_when_it_is_freed():
    for dataset in (training_dataset(source_of(), 4), validation_dataset(source_of(), 4, 8)):
        assert dataset.prefetch(3).options().autotune.enabled is False


def test_resumed_training_sees_what_the_uninterrupted_one_would_have():
    whole = batches(training_dataset(source_of(), 3), 7)
    resumed = batches(training_dataset(source_of(), 3, start_iteration=4), 3)
    for one, other in zip(whole[4:], resumed, strict=True):
        assert_equal(one, other)


def test_workers_split_the_global_batch_between_them():
    whole = batches(training_dataset(source_of(), 5), 3)
    parts = [batches(training_dataset(source_of(), 5, rows=(worker, 2)), 3) for worker in range(2)]
    for i, batch in enumerate(whole):
        for array, even, odd in zip(batch, parts[0][i], parts[1][i], strict=True):
            np.testing.assert_array_equal(array[0::2], even)
            np.testing.assert_array_equal(array[1::2], odd)


@pytest.mark.parametrize("count", [10, 13])
def test_workers_split_the_validation_set_too(count):
    whole = batches(validation_dataset(source_of(), 5, count), 9)
    parts = [batches(validation_dataset(source_of(), 5, count, rows=(worker, 2)), 9) for worker in range(2)]
    assert len(whole) == len(parts[0]) == len(parts[1]) == -(-count // 5)
    for i, batch in enumerate(whole):
        for array, even, odd in zip(batch, parts[0][i], parts[1][i], strict=True):
            np.testing.assert_array_equal(array[0::2], even)
            np.testing.assert_array_equal(array[1::2], odd)


@pytest.mark.parametrize(("count", "sizes", "static"), [(6, [3, 3], 3), (7, [3, 3, 1], None), (2, [2], None)])
def test_validation_is_the_same_finite_set_every_time(count, sizes, static):
    source = source_of()
    dataset = validation_dataset(source, 3, count)
    assert dataset.element_spec[0].shape.as_list() == [static, 10, 8, 1]
    first, second = batches(dataset, 100), batches(dataset, 100)
    assert [len(batch[0]) for batch in first] == sizes
    assert int(dataset.cardinality()) == len(sizes)
    whole = expected(source, range(count))
    for part in (first, second):
        assert_equal([np.concatenate(arrays) for arrays in zip(*part, strict=True)], whole)


def test_memory_is_used_again_only_when_nobody_holds_the_batch():
    import tensorflow as tf

    dataset = training_dataset(source_of(), 4)
    # Operations that may write in place must not disturb later batches, nor later batches the held ones.
    shifted = dataset.map(lambda image, targets, weights: (tf.nn.relu(image) + 1.0, targets, weights))
    held = [image for image, _, _ in shifted.take(12)]
    for i, image in enumerate(held):
        plain = source_of().batch(range(4 * i, 4 * i + 4))[0]
        np.testing.assert_allclose(image.numpy(), np.maximum(plain, 0) + 1, rtol=1e-6)


def test_errors_of_the_source_surface_as_themselves():
    source = source_of(sampler=BreakingSampler)
    with (
        pytest.raises(DataError, match=r"^subject 'p3': the file is gone; mount the disk again$"),
        original_errors(source),
    ):
        batches(training_dataset(source, 4), 3)


def test_errors_name_the_subject_without_help_too():
    import tensorflow as tf

    with pytest.raises(tf.errors.InvalidArgumentError, match="subject 'p3': the file is gone"):
        batches(training_dataset(source_of(sampler=BreakingSampler), 4), 3)


@pytest.fixture
def with_threads():
    """Where an earlier test of this process asked for runs that repeat bit for bit, TensorFlow starts no threads."""
    from tensorflow.python.framework import config

    was_asked = config.is_op_determinism_enabled()
    repeat_no_longer()
    yield
    if was_asked:
        config.enable_op_determinism()


@pytest.mark.slow
def test_as_many_batches_are_kept_ready_as_asked_for(with_threads):
    made = []

    class Counting(UniformSampler):
        def start(self, subject, rng):
            made.append(subject.subject_id)
            return super().start(subject, rng)

    batches_ready = iter(training_dataset(source_of(sampler=Counting), 1, num_threads=1, prefetch=6))
    next(batches_ready)
    deadline = time.monotonic() + 20
    while len(made) < 7 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    assert 7 <= len(made) <= 9  # one consumed, six ready, up to one in each stage's hands


def test_what_is_closed_holds_no_subjects_any_more():
    import tensorflow as tf

    source = source_of()
    subject, dataset = weakref.ref(source.subjects[0]), training_dataset(source, 2)
    batches(dataset, 1)
    gc.collect()
    assert subject() is not None
    close(source)
    # TensorFlow keeps what it called, and the dataset is still there.
    with pytest.raises(tf.errors.UnknownError, match="was closed"):
        list(dataset)
    del source
    gc.collect()
    assert subject() is None


def test_errors_of_others_pass_unchanged():
    import tensorflow as tf

    with pytest.raises(tf.errors.OutOfRangeError), original_errors(source_of()):
        raise tf.errors.OutOfRangeError(None, None, "not ours")


def test_opencv_starts_no_threads_of_its_own():
    import cv2

    cv2.setNumThreads(4)
    training_dataset(source_of(), 4)
    assert cv2.getNumThreads() == 1


def test_keras_fits_and_evaluates_networks_of_several_tasks():
    import keras

    source = source_of()
    image = keras.Input((10, 8, 1))
    features = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    pooled = keras.layers.GlobalAveragePooling2D()(features)
    network = keras.Model(
        image,
        {
            "ct": keras.layers.Conv2D(1, 1)(features),
            "organs": keras.layers.Conv2D(3, 1)(features),
            "age": keras.layers.Dense(1)(pooled),
            "sex": keras.layers.Dense(2)(pooled),
        },
    )
    losses = {
        "ct": keras.losses.MeanSquaredError(),
        "organs": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        "age": keras.losses.MeanSquaredError(),
        "sex": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    }
    network.compile("adam", losses)
    history = network.fit(training_dataset(source, 4), steps_per_epoch=15, epochs=2, verbose=0)
    assert history.history["loss"][1] < history.history["loss"][0]
    held_out = validation_dataset(source_of(seed=9), 4, 10)
    assert network.evaluate(held_out, verbose=0) == network.evaluate(held_out, verbose=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": (2, 2)}, r"rows = \(2, 2\)"),
        ({"rows": (0, 5)}, "batch_size = 4 leaves some of 5 workers without a window"),
        ({"start_iteration": -1}, "start_iteration = -1"),
        ({"num_threads": 0}, "num_threads = 0"),
        ({"prefetch": 0}, "prefetch = 0"),
    ],
)
def test_numbers_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        training_dataset(source_of(), 4, **options)


def test_a_validation_set_of_nothing_is_refused():
    with pytest.raises(ValueError, match="count = 0"):
        validation_dataset(source_of(), 4, 0)


@pytest.mark.slow
def test_programs_end_while_batches_are_being_made():
    program = textwrap.dedent(
        """
        import numpy as np
        from sfgkeras.data.augmentation import Augmentation
        from sfgkeras.data.pipeline import training_dataset
        from sfgkeras.data.samplers import UniformSampler
        from sfgkeras.data.windows import PreparedSubject, WindowSource

        subject = PreparedSubject("p", np.zeros((70, 70, 70, 1), np.float32), {})
        turn = Augmentation(rotation_angle=(-10, 10))
        source = WindowSource([subject], (64, 64, 64), UniformSampler((64, 64, 64)), turn, {})
        batches = iter(training_dataset(source, 8))
        next(batches)
        """
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "FATAL" not in result.stderr


def test_importing_the_pipeline_does_not_load_tensorflow():
    program = "import sys, sfgkeras.data.pipeline; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
