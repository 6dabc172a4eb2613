import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sfgkeras.data.nifti import write_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing import registration
from sfgkeras.preprocessing.pipeline import build_pipeline
from sfgkeras.preprocessing.registration import (
    RegisterSettings,
    Registration,
    apply_registration,
    mutual_information,
    register,
)
from sfgkeras.preprocessing.volume import StepContext, Volume

SHAPE = (36, 40, 34)


def anatomy(contrast):
    """An asymmetric body with three organs whose intensities follow a contrast, and its label map."""
    x, y, z = grid = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    labels = np.zeros(SHAPE, dtype=np.uint8)
    labels[(x / 0.75) ** 4 + ((y + 0.1 * x) / 0.6) ** 4 + (z / 0.85) ** 4 < 1] = 1
    organs = (
        ((0.4, 0.25, -0.3), (0.25, 0.2, 0.45)),
        ((-0.4, -0.2, 0.3), (0.2, 0.25, 0.4)),
        ((0.1, -0.3, -0.45), (0.5, 0.15, 0.15)),
    )
    for label, (centre, size) in enumerate(organs, start=2):
        inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip(grid, centre, size, strict=True)) < 1
        labels[inside] = label
    noise = np.random.default_rng(0).normal(0, 5, SHAPE)
    return (np.asarray(contrast, float)[labels] + noise).astype(np.float32), labels


@pytest.fixture(scope="module")
def pair():
    """A moving MR that lies 5 to 8 mm and some degrees away from a fixed CT of the same body."""
    moving, labels = anatomy([0, 300, 700, 150, 500])
    fixed, _ = anatomy([-1000, 0, 60, 400, -100])
    affine = np.diag([2.5, 2.5, 2.5, 1])
    affine[:3, 3] = [-44, -49, -41]
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", [4, -6, 5], degrees=True).as_matrix()
    motion[:3, 3] = [6, -5, 4]
    return moving, motion @ affine, fixed, affine, labels, motion


@pytest.fixture(scope="module")
def rigid(pair):
    moving, moving_affine, fixed, fixed_affine, _, _ = pair
    return register(moving, moving_affine, fixed, fixed_affine, "rigid")


def corners(affine):
    indices = np.array([[i, j, k, 1] for i in (5, 30) for j in (5, 34) for k in (5, 28)], float)
    return affine @ indices.T


def test_a_known_motion_between_modalities_is_found_to_a_voxel(pair, rigid):
    affine, motion = pair[3], pair[5]
    before = np.linalg.norm(((motion - np.eye(4)) @ corners(affine))[:3], axis=0)
    after = np.linalg.norm(((rigid.matrix - motion) @ corners(affine))[:3], axis=0)
    assert before.max() > 5
    assert after.max() < 0.5
    assert list(rigid.files) == ["_0GenericAffine.mat"]


def test_labels_move_with_their_image_and_stay_labels(pair, rigid):
    moving, moving_affine, fixed, fixed_affine, labels, _ = pair
    placed = apply_registration(rigid, labels, moving_affine, fixed.shape, fixed_affine, order=0)
    assert placed.dtype == labels.dtype
    assert set(np.unique(placed)) <= set(np.unique(labels))
    for label in (1, 2, 3):
        overlap = 2 * np.sum((placed == label) & (labels == label))
        assert overlap / (np.sum(placed == label) + np.sum(labels == label)) > 0.85
    image = apply_registration(rigid, moving, moving_affine, fixed.shape, fixed_affine)
    assert mutual_information(image, fixed) > 0.5


def test_the_step_writes_the_transform_and_says_what_it_gained(pair, tmp_path):
    moving, moving_affine, fixed, fixed_affine, labels, _ = pair
    write_image(tmp_path / "s0.nii.gz", fixed, fixed_affine)
    pipeline = build_pipeline("register", {"register_reference": tmp_path})
    result = pipeline.apply(Volume(moving, moving_affine, {"labels": labels}), StepContext("s0"))
    assert result.array.shape == fixed.shape
    assert result.labels["labels"].shape == fixed.shape
    assert [side.suffix for side in result.side_results] == ["_0GenericAffine.mat"]
    assert result.notes[-1].startswith("registered (rigid) to s0.nii.gz: the centre moves ")
    assert "WORSE" not in result.notes[-1]


@pytest.mark.slow
def test_affine_and_syn_find_a_stretched_body(pair):
    moving, moving_affine, fixed, fixed_affine, _, _ = pair
    stretched = moving_affine @ np.diag([1.08, 0.95, 1.0, 1])
    information = {}
    for transform in ("rigid", "affine", "syn"):
        found = register(moving, stretched, fixed, fixed_affine, transform)
        image = apply_registration(found, moving, stretched, fixed.shape, fixed_affine)
        information[transform] = mutual_information(image, fixed)
    assert information["affine"] > information["rigid"]
    assert information["syn"] > information["rigid"]
    assert "_1Warp.nii.gz" in found.files
    assert "_1InverseWarp.nii.gz" in found.files


def test_independent_images_share_no_information():
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(2, 40, 40, 40))
    assert mutual_information(one, other) < 0.02
    assert mutual_information(one, -one) > 2


def test_what_cannot_be_registered_is_refused(pair):
    moving, moving_affine, fixed, fixed_affine, _, _ = pair
    with pytest.raises(DataError, match="moving image is constant"):
        register(np.zeros(SHAPE), moving_affine, fixed, fixed_affine)
    with pytest.raises(DataError, match=r"the moving image has shape \(36, 40, 1\)"):
        register(moving[:, :, :1], moving_affine, fixed, fixed_affine)
    sheared = fixed_affine.copy()
    sheared[1, 2] = 0.7
    with pytest.raises(DataError, match="axes of the fixed image are not perpendicular"):
        register(moving, moving_affine, fixed, sheared)


def test_mutual_information_is_that_of_the_joint_histogram():
    """Against entropies: I(X; Y) = H(X) + H(Y) - H(X, Y), here of two values each."""
    one = np.array([0, 0, 0, 1, 1, 1, 1, 1.0])
    other = np.array([0, 0, 1, 1, 1, 1, 1, 0.0])

    def entropy(*counts):
        shares = np.array(counts) / np.sum(counts)
        return -(shares * np.log(shares)).sum()

    expected = entropy(3, 5) + entropy(3, 5) - entropy(2, 1, 1, 4)
    assert mutual_information(one, other) == pytest.approx(expected)
    assert mutual_information(other, one) == pytest.approx(expected)
    assert mutual_information(one, one) == pytest.approx(entropy(3, 5))
    assert mutual_information(one, 7 - 3 * other) == pytest.approx(expected), "in whatever units"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "register needs register_reference; name the fixed image or a folder"),
        ({"reference": "x", "order": 2}, "order = 2 does not exist; known are 0, 1, 3"),
        ({"reference": "x", "transform": "elastic"}, "transform"),
        ({"reference": "x", "seed": -1}, "seed"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        RegisterSettings(**settings)


def test_unknown_transforms_and_orders_and_images_that_are_not_finite_are_refused(pair, rigid):
    moving, moving_affine, fixed, fixed_affine, labels, _ = pair
    with pytest.raises(ConfigError, match=r"transform 'rigd'.*did you mean 'rigid'"):
        register(moving, moving_affine, fixed, fixed_affine, "rigd")
    with pytest.raises(ConfigError, match="order '2'"):
        apply_registration(rigid, moving, moving_affine, fixed.shape, fixed_affine, order=2)
    bad = moving.copy()
    bad[0, 0, 0] = np.inf
    with pytest.raises(DataError, match=r"the moving image has values that are not finite"):
        register(bad, moving_affine, fixed, fixed_affine)
    with pytest.raises(DataError, match=r"labels up to 16777217 are too large for ANTs; renumber them below 16777216"):
        apply_registration(rigid, labels.astype(np.int64) + 2**24 - 3, moving_affine, fixed.shape, fixed_affine, 0)


def test_outside_the_moving_image_there_is_the_fill_and_linear_results_are_floats(pair, rigid):
    moving, moving_affine, _, fixed_affine, labels, _ = pair
    far = fixed_affine.copy()
    far[:3, 3] += 1000
    placed = apply_registration(rigid, moving, moving_affine, (4, 5, 6), far, fill=-7.0)
    assert placed.dtype == np.float32
    assert placed.shape == (4, 5, 6)
    assert (placed == -7).all()
    assert apply_registration(rigid, labels, moving_affine, (4, 5, 6), far, order=1).dtype == np.float32


def test_the_seed_is_set_while_ants_runs_and_what_was_there_is_given_back(monkeypatch):
    """0 would mean the clock, so that seed 0 is 1 to ANTs."""
    monkeypatch.delenv("ANTS_RANDOM_SEED", raising=False)
    with registration._ants_seed(0):
        assert registration.os.environ["ANTS_RANDOM_SEED"] == "1"
    assert "ANTS_RANDOM_SEED" not in registration.os.environ
    monkeypatch.setenv("ANTS_RANDOM_SEED", "9")
    with pytest.raises(RuntimeError), registration._ants_seed(4):
        raise RuntimeError
    assert registration.os.environ["ANTS_RANDOM_SEED"] == "9"


def test_a_failure_of_the_library_is_told_as_one_of_the_images(pair, monkeypatch):
    import ants

    def fail(*_, **__):
        raise ValueError("of ITK")

    monkeypatch.setattr(ants, "registration", fail)
    with pytest.raises(DataError, match=r"registration failed \(of ITK\); do the two images show the same body part"):
        register(*pair[:4])
    monkeypatch.setattr(ants, "registration", lambda *_, **__: {"fwdtransforms": [], "invtransforms": []})
    with pytest.raises(DataError, match="registration found no transform"):
        register(*pair[:4])


def test_a_step_that_made_it_worse_says_so_and_saves_no_transform_unasked(pair, rigid, tmp_path, monkeypatch):
    moving, moving_affine, fixed, fixed_affine, _, _ = pair
    write_image(tmp_path / "s0.nii.gz", fixed, fixed_affine)
    monkeypatch.setattr(registration, "register", lambda *_: Registration(rigid.files, np.eye(4)))
    monkeypatch.setattr(registration, "apply_registration", lambda *_, **__: np.zeros(SHAPE, np.float32))
    options = {"register_reference": tmp_path, "register_save_transform": "no"}
    result = build_pipeline("register", options).apply(Volume(moving, moving_affine), StepContext("s0"))
    assert result.notes[-1].endswith("-> 0.000: WORSE than before, look at the picture")
    assert "the centre moves 0.0 mm" in result.notes[-1]
    assert result.side_results == ()
