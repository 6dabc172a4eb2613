import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sfgkeras.data.nifti import write_image
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.pipeline import build_pipeline
from sfgkeras.preprocessing.registration import apply_registration, mutual_information, register
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
