"""Windows of a source: exactness, determinism, and one geometry for image, targets and weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from sfgkeras.data.augmentation import Augmentation, Deformation
from sfgkeras.data.samplers import ResizeSampler, Sampler, UniformSampler
from sfgkeras.data.windows import PreparedSubject, WindowSource
from sfgkeras.errors import ConfigError, DataError

KINDS = {"ct": "map", "organs": "labels", "age": "value", "sex": "class"}


class FixedSampler(Sampler):
    """Cuts every window at one place."""

    def __init__(self, window_size, place):
        super().__init__(window_size)
        self.place = place

    def start(self, subject, rng):
        return np.array(self.place)


def subject_of(seed=0, shape=(20, 18, 16), channels=2, spacing=(1.0, 1.0, 1.0), name=None):
    rng = np.random.default_rng(seed)
    return PreparedSubject(
        name or f"p{seed:02d}",
        rng.integers(-1000, 1000, (*shape, channels)).astype(np.int16),
        {
            "ct": rng.normal(size=(*shape, 1)),
            "organs": rng.choice([0, 3, 7, 300], shape).astype(np.int16),
            "age": np.array([float(seed), 1.0]),
            "sex": np.array(seed % 2),
        },
        sampling_weight=rng.random(shape),
        spacing=spacing,
    )


EVERYTHING = Augmentation(
    rotation_angle=(-30, 30),
    scaling_percentage=(-20, 20),
    flip_axes=(0, 1),
    bias_field_range=(-0.3, 0.3),
    deformation=Deformation(3, 2.0, 0.5),
)


def source_of(window=(8, 10, 1), augmentation=None, kinds=KINDS, num_subjects=3, **options):
    subjects = [subject_of(seed) for seed in range(num_subjects)]
    return WindowSource(subjects, window, UniformSampler(window), augmentation, kinds, **options)


def assert_same(first, second):
    np.testing.assert_array_equal(first[0], second[0])
    for arrays, others in zip(first[1:], second[1:], strict=True):
        assert arrays.keys() == others.keys()
        for task in arrays:
            np.testing.assert_array_equal(arrays[task], others[task])


# What a window is


@pytest.mark.parametrize("window", [(8, 10, 1), (1, 9, 8), (6, 1, 7), (5, 6, 7)])
@pytest.mark.parametrize("augmentation", [None, Augmentation(rotation_angle=(0, 0), scaling_percentage=(0, 0))])
def test_window_without_augmentation_is_an_exact_copy(window, augmentation):
    place = (7, 3, 5)
    subject = subject_of()
    source = WindowSource([subject], window, FixedSampler(window, place), augmentation, KINDS)
    image, targets, weights = source.window(4)
    cut = tuple(slice(s, s + w) if w > 1 else s for s, w in zip(place, window, strict=True))
    np.testing.assert_array_equal(image, subject.image[cut].astype(np.float32))
    np.testing.assert_array_equal(targets["ct"], subject.targets["ct"][cut].astype(np.float32))
    np.testing.assert_array_equal(targets["organs"], subject.targets["organs"][cut])
    np.testing.assert_array_equal(targets["age"], [0.0, 1.0])
    assert targets["sex"] == 0
    assert weights["age"] == weights["sex"] == 1.0
    np.testing.assert_array_equal(weights["ct"], np.ones(image.shape[:-1]))


@pytest.mark.parametrize("rank", [2, 3])
def test_shapes_and_types_are_those_announced(rank):
    window = (8, 10, 1) if rank == 2 else (8, 10, 6)
    source = source_of(window, Augmentation(rotation_angle=(-90, 90)), loss_border=2)
    image, targets, weights = source.window(0)
    padded = (12, 14) if rank == 2 else (12, 14, 10)
    assert source.spatial_rank == rank
    assert image.shape == source.image_shape == (*padded, 2)
    assert image.dtype == np.float32
    assert {task: t.shape for task, t in targets.items()} == source.target_shapes
    assert source.target_shapes == {"ct": (*padded, 1), "organs": padded, "age": (2,), "sex": ()}
    assert {task: t.dtype for task, t in targets.items()} == source.target_dtypes
    assert [targets[t].dtype for t in KINDS] == [np.float32, np.int32, np.float32, np.int32]
    assert {task: w.shape for task, w in weights.items()} == source.weight_shapes
    assert all(w.dtype == np.float32 for w in weights.values())


@pytest.mark.parametrize("augmentation", [None, EVERYTHING])
def test_loss_border_is_zero_with_weight_zero_around_the_same_window(augmentation):
    plain = source_of(augmentation=augmentation, seed=5)
    padded = source_of(augmentation=augmentation, seed=5, loss_border=3)
    inner = (slice(3, -3), slice(3, -3))
    for index in range(6):
        image, targets, weights = plain.window(index)
        wide, wide_targets, wide_weights = padded.window(index)
        np.testing.assert_array_equal(wide[inner], image)
        for task in ("ct", "organs"):
            np.testing.assert_array_equal(wide_targets[task][inner], targets[task])
            np.testing.assert_array_equal(wide_weights[task][inner], weights[task])
        for array in (
            wide,
            wide_targets["ct"],
            wide_targets["organs"],
            wide_weights["ct"],
            wide_weights["organs"],
        ):
            array[inner] = 0
            assert not array.any()


@pytest.mark.parametrize("window", [(8, 10, 1), (1, 9, 8), (5, 6, 7)])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (2, 0, 1, 3), (3, 2, 1, 0)])
def test_read_only_memory_maps_of_any_layout_give_the_windows_of_the_array(tmp_path, order, window):
    plain = subject_of()
    back = tuple(np.argsort(order))

    def mapped(name, array):
        array = array if array.ndim == 4 else array[..., None]
        stored = np.memmap(tmp_path / name, array.dtype, "w+", shape=tuple(array.shape[a] for a in order))
        stored[:] = array.transpose(order)
        stored.flush()
        return np.memmap(tmp_path / name, array.dtype, "r", shape=stored.shape).transpose(back)

    targets = {**plain.targets, **{task: mapped(task, plain.targets[task]) for task in ("ct", "organs")}}
    on_disk = PreparedSubject("p00", mapped("image", plain.image), targets)
    rotating = Augmentation(rotation_angle=(-40, 40), scaling_percentage=(-10, 10))
    for augmentation in (None, rotating):
        sources = [WindowSource([s], window, UniformSampler(window), augmentation, KINDS) for s in (plain, on_disk)]
        for index in range(4):
            assert_same(*(source.window(index) for source in sources))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float64, ">i2", np.float16])
def test_images_of_every_number_type_are_rotated_as_float(dtype):
    values = np.random.default_rng(0).integers(0, 200, (16, 16, 1, 1))
    window, turn = (12, 12, 1), Augmentation(rotation_angle=(33, 33))
    windows = [
        WindowSource([PreparedSubject("p", array, {})], window, FixedSampler(window, (2, 2, 0)), turn, {}).window(0)[0]
        for array in (values.astype(np.float32), values.astype(dtype))
    ]
    np.testing.assert_array_equal(*windows)
    assert np.any(windows[0] % 1 != 0)


# Numbers that do not depend on who asks


@given(
    seed=st.integers(0, 2**40),
    index=st.integers(0, 10**9),
    others=st.lists(st.integers(0, 10**6), max_size=3),
)
@settings(max_examples=25, deadline=None)
def test_window_is_a_pure_function_of_seed_and_index(seed, index, others):
    first, second = (source_of(augmentation=EVERYTHING, seed=seed) for _ in range(2))
    window = first.window(index)
    image, targets, weights = second.batch([*others, index, *others])
    row = len(others)
    in_a_batch = image[row], {t: a[row] for t, a in targets.items()}, {t: a[row] for t, a in weights.items()}
    assert_same(window, in_a_batch)


def test_other_seeds_and_other_numbers_give_other_windows():
    images = [source_of(augmentation=EVERYTHING, seed=seed).window(i)[0] for seed in (0, 1) for i in range(20)]
    assert len({image.tobytes() for image in images}) == 40


def test_streams_of_neighbouring_windows_do_not_share_numbers():
    class Recorder(FixedSampler):
        drawn = []

        def start(self, subject, rng):
            self.drawn.append(rng.random(64))
            return super().start(subject, rng)

    sampler = Recorder((4, 4, 1), (0, 0, 0))
    WindowSource([subject_of()], (4, 4, 1), sampler, None, {}).batch(range(50))
    assert len(np.unique(sampler.drawn)) == 50 * 64


@pytest.mark.parametrize("windows_per_volume", [1, 3])
def test_every_pass_takes_the_same_number_of_windows_of_each_subject_in_a_new_order(windows_per_volume):
    source = source_of(num_subjects=5, windows_per_volume=windows_per_volume)
    per_pass = 5 * windows_per_volume
    orders = []
    for number in range(6):
        ids = [source.subject_of(number * per_pass + i).subject_id for i in range(per_pass)]
        assert sorted(ids) == sorted([s.subject_id for s in source.subjects] * windows_per_volume)
        orders.append(tuple(ids))
    assert len(set(orders)) > 3
    assert [source.subject_of(i).subject_id for i in reversed(range(per_pass))] == list(reversed(orders[0]))


def test_windows_come_from_the_subject_that_is_announced():
    source = source_of(num_subjects=5)
    for index in range(12):
        assert source.window(index)[1]["age"][0] == float(source.subject_of(index).subject_id[1:])


# Geometry


@pytest.mark.parametrize("window", [(9, 9, 1), (1, 8, 8), (8, 1, 8)])
@pytest.mark.parametrize("quarters", [-1, 1, 2])
def test_quarter_turns_equal_rot90(window, quarters):
    turn = Augmentation(rotation_angle=(90 * quarters, 90 * quarters))
    sources = [WindowSource([subject_of()], window, FixedSampler(window, (3, 4, 5)), a, KINDS) for a in (None, turn)]
    (image, targets, _), (turned, turned_targets, weights) = (source.window(0) for source in sources)
    np.testing.assert_allclose(turned, np.rot90(image, quarters), atol=0.1)  # of 2000
    np.testing.assert_allclose(turned_targets["ct"], np.rot90(targets["ct"], quarters), atol=1e-4)
    np.testing.assert_array_equal(turned_targets["organs"], np.rot90(targets["organs"], quarters))
    assert weights["organs"].all()


@pytest.mark.parametrize(
    ("window", "axes"), [((9, 8, 1), (0, 1)), ((1, 8, 7), (2,)), ((6, 1, 7), (0, 2)), ((5, 6, 7), (0, 1, 2))]
)
def test_flips_equal_numpy_flip_exactly_and_all_combinations_occur(window, axes):
    mirror = Augmentation(flip_axes=axes)
    sources = [WindowSource([subject_of()], window, FixedSampler(window, (0, 4, 5)), a, KINDS) for a in (None, mirror)]
    image, targets, _ = sources[0].window(0)
    seen = [axis for axis in range(3) if window[axis] > 1]
    combinations = {}
    for bits in range(2 ** len(axes)):
        flipped = tuple(seen.index(axis) for place, axis in enumerate(axes) if bits >> place & 1)
        combinations[np.flip(image, flipped).tobytes()] = flipped
    found = set()
    for index in range(60):
        turned, turned_targets, weights = sources[1].window(index)
        flipped = combinations[turned.tobytes()]
        found.add(flipped)
        np.testing.assert_array_equal(turned_targets["ct"], np.flip(targets["ct"], flipped))
        np.testing.assert_array_equal(turned_targets["organs"], np.flip(targets["organs"], flipped))
        assert weights["ct"].all()
    assert len(found) == 2 ** len(axes)


def centre_of_mass(image):
    grids = np.meshgrid(*[np.arange(n) for n in image.shape], indexing="ij")
    return np.array([np.sum(g * image) for g in grids]) / image.sum()


def blob(shape, centre, width_mm, spacing):
    grids = np.meshgrid(*[np.arange(n) for n in shape], indexing="ij")
    distance = sum(((g - c) * s) ** 2 for g, c, s in zip(grids, centre, spacing, strict=True))
    return np.exp(-0.5 * distance / width_mm**2)


@given(
    degrees=st.floats(-170, 170),
    percent=st.floats(-25, 25),
    sliced=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_structures_of_a_plane_turn_and_grow_about_its_centre_in_millimetres(degrees, percent, sliced, seed):
    rng = np.random.default_rng(seed)
    spacing = rng.uniform(0.8, 2.0, 3)
    window = np.where(np.arange(3) == sliced, 1, 60)
    shape = np.where(np.arange(3) == sliced, 3, 64)
    place = np.where(np.arange(3) == sliced, 1, 2)
    axes = [axis for axis in range(3) if axis != sliced]
    offset = rng.uniform(-10, 10, 2)  # mm from the centre of the window
    centre = np.array([1.0, 1.0, 1.0])
    centre[axes] = 2 + 59 / 2 + offset / spacing[axes]
    image = blob(shape, centre, 2.5, spacing)[..., None]
    augmentation = Augmentation(rotation_angle=(degrees, degrees), scaling_percentage=(percent, percent))
    subject = PreparedSubject("p", image, {}, spacing=tuple(spacing))
    turned = WindowSource([subject], window, FixedSampler(window, place), augmentation, {}).window(0)[0][..., 0]
    turn = Rotation.from_euler("z", degrees, degrees=True).as_matrix()[:2, :2]
    expected = 59 / 2 + (1 + percent / 100) * turn @ offset / spacing[axes]
    np.testing.assert_allclose(centre_of_mass(turned), expected, atol=0.05)


@pytest.mark.parametrize("degrees", [0.0, 25.0, -70.0])
@pytest.mark.parametrize("percent", [0.0, 20.0])
def test_structures_of_a_volume_turn_about_three_axes_in_millimetres(degrees, percent):
    spacing, offset = np.array([1.0, 1.4, 1.8]), np.array([5.0, -3.0, 4.0])
    image = blob((36, 36, 36), 3 + 29 / 2 + offset / spacing, 2.0, spacing)[..., None]
    augmentation = Augmentation(rotation_angle=(degrees, degrees), scaling_percentage=(percent, percent))
    subject, window = PreparedSubject("p", image, {}, spacing=tuple(spacing)), (30, 30, 30)
    turned = WindowSource([subject], window, FixedSampler(window, (3, 3, 3)), augmentation, {}).window(0)[0][..., 0]
    turn = Rotation.from_euler("xyz", [degrees] * 3, degrees=True).as_matrix()
    expected = 29 / 2 + (1 + percent / 100) * turn @ offset / spacing
    np.testing.assert_allclose(centre_of_mass(turned), expected, atol=0.1)


@pytest.mark.parametrize("window", [(40, 40, 1), (24, 24, 24)])
@pytest.mark.parametrize(
    "augmentation",
    [
        Augmentation((-60, 60), scaling_percentage=(-20, 20), flip_axes=(0, 1), antialiasing=False),
        Augmentation(deformation=Deformation(4, 4.0, 1.0), rotation_angle=(-10, 10), flip_axes=(1,)),
    ],
)
def test_image_map_and_labels_move_together_and_only_the_image_is_biased(window, augmentation):
    noise = np.random.default_rng(0).normal(size=(44, 44, 28))
    image = gaussian_filter(noise, 5.0)
    image /= np.abs(image).max()
    subject = PreparedSubject("p", image[..., None], {"m": image, "l": (image > 0.1).astype(np.uint8)})
    kinds = {"m": "map", "l": "labels"}
    source = WindowSource([subject], window, UniformSampler(window), augmentation, kinds)
    nearest_error = sum(0.5 * np.abs(np.diff(image, axis=axis)).max() for axis in range(3))
    for index in range(5):
        moved, targets, weights = source.window(index)
        np.testing.assert_array_equal(targets["m"], moved)
        inside = weights["l"] > 0
        assert inside.mean() > 0.5
        clear = inside & (np.abs(moved[..., 0] - 0.1) > nearest_error)
        assert clear.mean() > 0.2
        np.testing.assert_array_equal(targets["l"][clear], moved[..., 0][clear] > 0.1)
        assert 0.05 < targets["l"][inside].mean() < 0.8
    biased = Augmentation(bias_field_range=(-0.5, 0.5))
    plain, field = (
        WindowSource([subject], window, UniformSampler(window), a, kinds).window(1) for a in (Augmentation(), biased)
    )
    assert_same((0, *plain[1:]), (0, *field[1:]))
    ratio = field[0] / plain[0]
    assert ratio.std() > 0.01
    assert ratio.min() > 0


@given(seed=st.integers(0, 10**6), rank=st.sampled_from([2, 3]))
@settings(max_examples=20, deadline=None)
def test_augmented_labels_are_labels_of_the_subject_or_zero_outside(seed, rank):
    source = source_of((12, 12, 1) if rank == 2 else (9, 9, 9), EVERYTHING, seed=seed)
    _, targets, weights = source.window(seed)
    inside = weights["organs"] > 0
    assert set(np.unique(targets["organs"][inside])) <= {0, 3, 7, 300}
    assert not targets["organs"][~inside].any()


@pytest.mark.parametrize("rank", [2, 3])
def test_beyond_the_volume_everything_is_zero_and_weighs_nothing(rank):
    window = (18, 18, 1) if rank == 2 else (14, 14, 14)
    shape = (18, 18, 2) if rank == 2 else (14, 14, 14)
    ones = PreparedSubject("p", np.ones((*shape, 1)), {"ct": np.ones(shape), "organs": np.ones(shape, int)})
    kinds = {"ct": "map", "organs": "labels"}
    turn = Augmentation(rotation_angle=(45, 45))
    image, targets, weights = WindowSource([ones], window, UniformSampler(window), turn, kinds).window(0)
    weight = weights["ct"]
    assert weight[(0,) * rank] == 0
    assert weight[tuple(n // 2 for n in weight.shape)] == 1
    assert 0.5 < weight.mean() < 0.95
    np.testing.assert_array_equal(np.unique(weight), [0, 1])
    np.testing.assert_allclose(image[..., 0], weight, atol=1e-6)
    np.testing.assert_allclose(targets["ct"][..., 0], weight, atol=1e-6)
    np.testing.assert_array_equal(targets["organs"], weight)
    np.testing.assert_array_equal(weights["organs"], weight)


def test_rotation_brings_in_what_lies_beside_the_window():
    image = np.full((40, 40, 1, 1), 5.0)
    image[14:26, 14:26] = 1.0
    turn = Augmentation(rotation_angle=(45, 45))
    source = WindowSource(
        [PreparedSubject("p", image, {})], (12, 12, 1), FixedSampler((12, 12, 1), (14, 14, 0)), turn, {}
    )
    window = source.window(0)[0][..., 0]
    assert window[0, 0] == 5.0
    assert window[6, 6] == 1.0


def test_deformation_displaces_by_the_same_length_along_all_axes():
    x, y, z = np.meshgrid(*[np.arange(n, dtype=float) for n in (40, 40, 20)], indexing="ij")
    subject = PreparedSubject("p", np.stack([x, y, z], -1), {}, spacing=(1.0, 1.0, 4.0))
    window = (20, 20, 10)
    deform = Augmentation(deformation=Deformation(3, 2.0, 1.0))
    sampler = FixedSampler(window, (10, 10, 5))
    plain = WindowSource([subject], window, sampler, None, {}).window(0)[0]
    source = WindowSource([subject], window, sampler, deform, {})
    moved = np.array([source.window(index)[0] - plain for index in range(60)]) * np.array([1.0, 1.0, 4.0])
    spread = moved.std(axis=(0, 1, 2, 3))
    assert 0.7 < spread.min() / spread.max() <= 1
    assert 0.3 < spread.mean() < 2.0


# Whole volumes, resized


def test_resized_photograph_shows_all_of_it_and_its_labels():
    rows, columns = np.meshgrid(np.arange(64.0), np.arange(48.0), indexing="ij")
    photo = np.stack([rows, columns, np.full(rows.shape, 9.0)], -1)[:, :, None]
    labels = ((rows >= 32) * 2 + (columns >= 24))[:, :, None].astype(np.uint8)
    subject = PreparedSubject("p", photo, {"l": labels, "m": photo})
    window = (16, 16, 1)
    source = WindowSource([subject], window, ResizeSampler(window), None, {"l": "labels", "m": "map"})
    image, targets, weights = source.window(0)
    np.testing.assert_allclose(image[1:-1, 5, 0], 4 * np.arange(1, 15) + 1.5, rtol=1e-5)
    np.testing.assert_allclose(image[5, 1:-1, 1], 3 * np.arange(1, 15) + 1.0, rtol=1e-5)
    np.testing.assert_array_equal(targets["m"], image)
    np.testing.assert_array_equal(targets["l"], np.kron([[0, 1], [2, 3]], np.ones((8, 8))))
    assert weights["l"].all()


def test_resized_volume_is_turned_in_millimetres_of_the_resized_voxels():
    spacing = (1.0, 1.0, 1.0)
    image = blob((60, 30, 1), (36, 20, 0), 2.5, spacing)[..., None]  # 6.5 and 5.5 mm from the centre
    window, turn = (30, 30, 1), Augmentation(rotation_angle=(90, 90))
    subject = PreparedSubject("p", image, {}, spacing=spacing)
    turned = WindowSource([subject], window, ResizeSampler(window), turn, {}).window(0)[0][..., 0]
    # (6.5, 5.5) mm turns to (-5.5, 6.5) mm; resized voxels are 2 mm by 1 mm.
    np.testing.assert_allclose(centre_of_mass(turned), [14.5 - 5.5 / 2, 14.5 + 6.5], atol=0.1)


# What is refused


def build(subjects=None, window=(8, 8, 1), kinds=None, **options):
    subjects = [subject_of()] if subjects is None else subjects
    sampler = options.pop("sampler", None) or UniformSampler(window)
    return WindowSource(subjects, window, sampler, options.pop("augmentation", None), kinds or KINDS, **options)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"subjects": []}, DataError, "no subjects"),
        ({"kinds": {"ct": "mapp"}}, ConfigError, "unknown kind of task 'mapp', did you mean 'map'"),
        ({"kinds": {"mr": "map"}}, DataError, r"'p00': there is no target for task 'mr'.*'organs'"),
        ({"kinds": {"ct": "labels"}}, DataError, "'p00': the label map of task 'ct'.*float64"),
        ({"kinds": {"age": "map"}}, DataError, r"'p00': task 'age' needs a volume.*\[0\.0, 1\.0\]"),
        ({"kinds": {"ct": "value"}}, DataError, "'p00': task 'ct' needs a number"),
        ({"kinds": {"age": "class"}}, DataError, r"'p00': the class of task 'age' is \[0\.0, 1\.0\]"),
        ({"kinds": {"ct": "class"}}, DataError, "'p00': the class of task 'ct' is a volume"),
        ({"sampler": UniformSampler((8, 8, 8))}, ConfigError, r"\(8, 8, 8\), not for \(8, 8, 1\)"),
        ({"window": (8, 19, 1)}, DataError, "'p00'.*smaller than the window"),
        ({"loss_border": -1}, ConfigError, "loss_border = -1"),
        ({"seed": -5}, ConfigError, "seed = -5"),
        ({"windows_per_volume": 0}, ConfigError, "sample_per_volume = 0"),
        ({"augmentation": Augmentation(flip_axes=(0, 2))}, ConfigError, "random_flipping_axes contains 2"),
        (
            {"subjects": [subject_of(), subject_of(1, channels=3)]},
            DataError,
            "'p01' has 3 image channels, but 'p00' has 2",
        ),
    ],
)
def test_sources_that_cannot_work_are_refused_with_the_reason(arguments, error, message):
    with pytest.raises(error, match=message):
        build(**arguments)


def test_subjects_with_targets_of_other_sizes_are_refused_by_name():
    image = np.zeros((8, 8, 8, 1))
    subjects = [
        PreparedSubject("p1", image, {"m": np.zeros((8, 8, 8, 2)), "v": np.zeros(3)}),
        PreparedSubject("p2", image, {"m": np.zeros((8, 8, 8)), "v": np.array(1.0)}),
    ]
    for task, kind, sizes in (
        ("m", "map", "1 values where 'p1' has 2"),
        ("v", "value", "1 values where 'p1' has 3"),
    ):
        with pytest.raises(DataError, match=f"'p2': the target of task '{task}' has {sizes}"):
            build(subjects, kinds={task: kind})


def test_negative_windows_do_not_exist():
    with pytest.raises(ValueError, match="window -1 does not exist"):
        build().window(-1)


VOLUME = np.zeros((4, 5, 6, 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image": np.zeros((4, 5, 6))}, r"\(4, 5, 6\), which is not \(x, y, z, channels\)"),
        (
            {"targets": {"ct": np.zeros((4, 5, 7))}},
            r"target of task 'ct' has shape \(4, 5, 7\) but the image",
        ),
        ({"targets": {"ct": np.zeros((4, 5))}}, "neither a volume nor"),
        ({"targets": {"age": np.array(np.nan)}}, "target of task 'age' is nan"),
        ({"targets": {"age": np.array("old")}}, "target of task 'age' is old"),
        ({"sampling_weight": np.zeros((4, 5, 5))}, "sampling weight has shape"),
        ({"sampling_weight": np.zeros((4, 5, 6, 2))}, "sampling weight has 2 channels"),
        ({"spacing": (1.0, 0.0, 1.0)}, r"spacing is \(1\.0, 0\.0, 1\.0\)"),
    ],
)
def test_subjects_whose_arrays_do_not_belong_together_are_refused_by_name(arguments, message):
    with pytest.raises(DataError, match=f"subject 'p07': .*{message}"):
        PreparedSubject("p07", **{"image": VOLUME, "targets": {}, **arguments})


def test_antialiasing_smooths_images_that_shrink_and_nothing_else():
    noise = np.random.default_rng(0).normal(size=(64, 64, 1)).astype(np.float32)
    subject = PreparedSubject("p", noise[..., None], {"m": noise})

    def window(percentage, antialiasing):
        augmentation = Augmentation(scaling_percentage=(percentage, percentage), antialiasing=antialiasing)
        source = WindowSource([subject], (24, 24, 1), UniformSampler((24, 24, 1)), augmentation, {"m": "map"})
        image, targets, _ = source.window(0)
        return image, targets["m"]

    plain, plain_target = window(-50, False)
    smooth, smooth_target = window(-50, True)
    assert smooth.std() < 0.7 * plain.std()
    np.testing.assert_array_equal(smooth_target, plain_target)
    np.testing.assert_array_equal(window(50, True)[0], window(50, False)[0])


@pytest.mark.parametrize("deformed", [False, True], ids=["affine", "deformed"])
@pytest.mark.parametrize(
    ("window", "place"), [((16, 16, 1), (12, 14, 2)), ((8, 8, 8), (10, 9, 11)), ((16, 16, 1), (0, 0, 2))]
)
def test_antialiasing_takes_what_lies_around_the_window_into_account_up_to_its_outermost_ring(window, place, deformed):
    volume = np.random.default_rng(1).normal(size=(48, 48, 30)).astype(np.float32)
    rank = 2 if 1 in window else 3
    parts = (
        volume,
        gaussian_filter(volume, [0.73556, 0.73556, 0.73556 if rank == 3 else 0], mode="nearest", truncate=3),
    )

    def shrunk(image, antialiasing):
        # A deformation by nothing reads voxel by voxel.
        nothing = Deformation(sigma=0.0, proportion=1.0) if deformed else None
        augmentation = Augmentation(scaling_percentage=(-50, -50), antialiasing=antialiasing, deformation=nothing)
        subject = PreparedSubject("p", image[..., None], {})
        return WindowSource([subject], window, FixedSampler(window, place), augmentation, {}).window(0)[0]

    smooth, expected = shrunk(parts[0], True), shrunk(parts[1], False)
    np.testing.assert_allclose(smooth, expected, atol=2e-4)
    assert np.abs(smooth - shrunk(parts[0], False)).max() > 0.5


@pytest.mark.parametrize("window", [(8, 10, 1), (8, 7, 6)])
def test_a_bias_field_belongs_to_the_volume_and_does_not_begin_anew_in_every_window(window):
    subject = PreparedSubject("p", np.ones((20, 18, 16, 1), np.float32), {})
    augmentation = Augmentation(bias_field_range=(-0.5, 0.5))

    def field(place):
        return WindowSource([subject], window, FixedSampler(window, place), augmentation, {}).window(3)[0]

    here, there = field((2, 3, 4)), field((5, 4, 4))
    np.testing.assert_allclose(here[3:, 1:], there[:-3, :-1], rtol=1e-5)
    assert np.abs(here - there).max() > 0.01


def test_the_smoothing_for_shrinking_follows_the_point_spread_function():
    augmentation = Augmentation(scaling_percentage=(-50, -50))
    parameters = augmentation.draw(np.random.default_rng(0), 2)
    # Halving: new voxels are 2 wide, so sqrt(2^2 - 1) = 1.732 is missing in width, 0.7356 in standard deviation.
    np.testing.assert_allclose(augmentation.smoothing(parameters), [0.73556, 0.73556], rtol=1e-4)


def test_a_weight_map_of_the_loss_multiplies_the_weights():
    image = np.ones((32, 32, 1, 1), np.float32)
    weight = np.zeros((32, 32, 1), np.float32)
    weight[:16] = 2.0
    subject = PreparedSubject("p", image, {"m": image[..., 0]}, loss_weight=weight)
    source = WindowSource([subject], (32, 32, 1), UniformSampler((32, 32, 1)), None, {"m": "map"}, loss_border=1)
    _, _, weights = source.window(0)
    expected = np.pad(weight[..., 0], 1)
    np.testing.assert_array_equal(weights["m"], expected)


def test_a_negative_weight_map_is_refused():
    image = np.ones((4, 4, 1, 1), np.float32)
    with pytest.raises(DataError, match="weight map"):
        PreparedSubject("p", image, {}, loss_weight=-image[..., 0])


# Targets that are not there


def test_a_target_that_is_missing_is_zero_and_has_no_weight():
    whole = subject_of(0)
    targets = {task: target for task, target in subject_of(1).targets.items() if task in ("organs", "age")}
    partial = PreparedSubject("p01", subject_of(1).image, targets, missing=frozenset({"ct", "sex"}))
    source = WindowSource([partial, whole], (8, 10, 1), UniformSampler((8, 10, 1)), EVERYTHING, KINDS, loss_border=2)
    order = [source.subject_of(index).subject_id for index in range(6)]
    # What the arrays held before does not shine through.
    _, targets, weights = source.batch(range(6), lambda shape, dtype: np.full(shape, 9, dtype))
    for row, name in enumerate(order):
        for task in KINDS:
            lacks = name == "p01" and task in ("ct", "sex")
            assert (weights[task][row].max() > 0) != lacks
            assert not lacks or not targets[task][row].any()


def test_a_task_that_no_subject_has_a_target_of_is_refused():
    alone = PreparedSubject("p01", subject_of(1).image, {}, missing=frozenset({"ct"}))
    with pytest.raises(DataError, match="none of 1 subject has a target of task 'ct'"):
        WindowSource([alone], (8, 10, 1), UniformSampler((8, 10, 1)), None, {"ct": "map"})
