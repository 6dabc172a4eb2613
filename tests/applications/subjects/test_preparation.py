"""Prepared arrays against nibabel, SimpleITK and formulas written down anew."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from sfgkeras.applications.subjects.image_pipeline import pipeline_of
from sfgkeras.applications.subjects.session import open_session, prepare_phase
from sfgkeras.config import read_config
from sfgkeras.data import references
from sfgkeras.data.grids import Grid
from sfgkeras.data.nifti import read_image
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.foreground import foreground_mask
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.reporter import SilentReporter

INI = """
[T1]
path_to_search = {folder}
filename_contains = _t1
pixdim = 2, 2, 2.5
axcodes = R, A, S
spatial_window_size = 8, 8, 1

[T2]
path_to_search = {folder}
filename_contains = _t2
pixdim = 2, 2, 2.5
axcodes = R, A, S

[CT]
path_to_search = {folder}
filename_contains = _ct
pixdim = 2, 2, 2.5
axcodes = R, A, S
scaling = ct
padding_value = -1024

[ORGANS]
path_to_search = {folder}
filename_contains = _organs
pixdim = 2, 2, 2.5
axcodes = R, A, S

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet
normalisation = yes
histogram_ref_file = landmarks.json
whitening = yes

[MULTITASK]
image = T1, T2
tasks = ct, organs

[TASK ct]
type = regression
target = CT

[TASK organs]
type = segmentation
target = ORGANS
num_classes = 4
"""
# The image itself as target: the one grid that needs no resampling.
UNRESAMPLED = [
    *((f"{name}.pixdim", "") for name in ("T1", "T2", "CT", "ORGANS")),
    ("MULTITASK.tasks", "own"), ("TASK own.type", "regression"), ("TASK own.target", "T1"),
]  # fmt: skip
IDS = ("a", "b", "c")
PIXDIM = np.array([2.0, 2.0, 2.5])


def rotation(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def affine_of(spacing, origin, degrees=0.0):
    affine = np.eye(4)
    affine[:3, :3] = rotation(degrees) @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


def write(path, array, affine, axcodes="RAS"):
    """Writes a volume given in RAS as a file of another orientation, so that its voxels are flipped and permuted."""
    image = nib.Nifti1Image(array, affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(tuple(axcodes)))
    nib.save(image.as_reoriented(turn), path)


@pytest.fixture
def folder(tmp_path):
    """Three subjects; oblique, flipped and permuted, no two sources on one grid."""
    rng = np.random.default_rng(7)
    for number, subject_id in enumerate(IDS):
        degrees = 7.0 * number
        base = affine_of((3, 3, 5), (-20 + number, -15, 4), degrees)
        smooth = np.add.outer(np.add.outer(np.arange(14.0), np.arange(12) ** 1.5), 3 * np.arange(6.0))
        t1 = (300 + 12 * smooth + rng.normal(0, 20, smooth.shape)).astype(np.int16)
        write(tmp_path / f"{subject_id}_t1.nii.gz", t1, base, "LPS")
        t2 = rng.gamma(2, 50, (15, 13, 7)).astype(np.float32)
        write(tmp_path / f"{subject_id}_t2.nii.gz", t2, affine_of((3, 3, 5), (-21, -16, 2), degrees + 3), "RAS")
        ct = rng.integers(-1100, 3000, (10, 12, 6)).astype(np.int16)
        write(tmp_path / f"{subject_id}_ct.nii.gz", ct, affine_of((3.3, 3.1, 5), (-18, -15, 4), degrees), "PIR")
        organs = rng.integers(0, 4, (14, 12, 6)).astype(np.uint8)
        write(
            tmp_path / f"{subject_id}_organs.nii.gz", organs, affine_of((3, 3, 5), (-20.3, -15.2, 4.4), degrees), "SAL"
        )
    return tmp_path


def open_at(folder, *overrides, training=True):
    path = folder / "run.ini"
    path.write_text(INI.format(folder=folder))
    return open_session(read_config(path, overrides), SilentReporter(), training=training)


def to_itk(array, affine, value):
    flip = np.diag([-1.0, -1.0, 1.0])
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((flip @ affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin((flip @ affine[:3, 3]).tolist())
    return sitk.Cast(image, value)


def expected_grid(path):
    """The grid of a file, turned to RAS and divided anew along its own axes."""
    image = nib.as_closest_canonical(nib.load(path))
    old = np.array(image.header.get_zooms()[:3], float)
    shape = np.round(np.array(image.shape) * old / PIXDIM).astype(int)
    affine = image.affine.astype(float).copy()
    affine[:3, :3] *= PIXDIM / old
    affine[:3, 3] += image.affine[:3, :3] @ ((PIXDIM / old - 1) / 2)
    return shape, affine


def expected_volume(path, shape, affine, interpolator=sitk.sitkLinear, fill=0.0):
    image = nib.load(path)
    moving = to_itk(np.asarray(image.dataobj, np.float64), image.affine.astype(float), sitk.sitkFloat64)
    reference = to_itk(np.zeros(tuple(shape)), affine, sitk.sitkFloat64)
    resampled = sitk.Resample(moving, reference, sitk.Transform(), interpolator, fill)
    return sitk.GetArrayFromImage(resampled).T


def expected_landmarks(volumes):
    """Nyul's mean landmarks between the 1st and 99th percentile, on a scale from 0 to 100."""
    percents = [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 99]
    rows = np.array([np.percentile(volume, percents) for volume in volumes])
    return percents, (100 * (rows - rows[:, :1]) / (rows[:, -1:] - rows[:, :1])).mean(axis=0)


def standardise(volume, percents, levels):
    knots = np.percentile(volume, percents)
    mapped = np.interp(volume, knots, levels)
    first = (levels[1] - levels[0]) / (knots[1] - knots[0])
    last = (levels[-1] - levels[-2]) / (knots[-1] - knots[-2])
    mapped = np.where(volume < knots[0], levels[0] + first * (volume - knots[0]), mapped)
    return np.where(volume > knots[-1], levels[-1] + last * (volume - knots[-1]), mapped)


def test_prepared_images_are_turned_resampled_standardised_and_whitened_source_by_source(folder):
    session = open_at(folder)
    prepared = {subject.subject_id: subject for subject in prepare_phase(session, "training", SilentReporter())}
    assert sorted(prepared) == list(IDS)
    for channel, source in enumerate(("t1", "t2")):
        volumes = {
            subject_id: expected_volume(
                folder / f"{subject_id}_{source}.nii.gz", *expected_grid(folder / f"{subject_id}_t1.nii.gz")
            )
            for subject_id in IDS
        }
        percents, levels = expected_landmarks(volumes.values())
        for subject_id, volume in volumes.items():
            mapped = standardise(volume, percents, levels)
            expected = (mapped - mapped.mean()) / mapped.std()
            image = prepared[subject_id].image
            assert image.shape == (21, 18, 12, 2)
            np.testing.assert_allclose(image[..., channel], expected, atol=2e-3)
            assert prepared[subject_id].spacing == pytest.approx(PIXDIM)


def test_targets_lie_on_the_grid_of_the_first_image(folder):
    session = open_at(folder)
    for subject in prepare_phase(session, "training", SilentReporter()):
        grid = expected_grid(folder / f"{subject.subject_id}_t1.nii.gz")
        hu = expected_volume(folder / f"{subject.subject_id}_ct.nii.gz", *grid, fill=-1024)
        ct = np.asarray(subject.target("ct")).reshape(hu.shape)
        np.testing.assert_allclose(ct, np.clip(hu, -1024, 2500) / 1024 + 1, atol=1e-3)
        labels = expected_volume(folder / f"{subject.subject_id}_organs.nii.gz", *grid, sitk.sitkNearestNeighbor)
        organs = np.asarray(subject.target("organs")).reshape(labels.shape)
        assert organs.dtype == np.uint8
        assert (organs != labels).mean() < 1e-3


def test_a_volume_without_resampling_keeps_its_voxels_bit_for_bit(folder):
    session = open_at(
        folder, *UNRESAMPLED, ("NETWORK.normalisation", "no"), ("NETWORK.whitening", "no"), ("MULTITASK.image", "T1")
    )
    for subject in prepare_phase(session, "training", SilentReporter()):
        voxels = nib.as_closest_canonical(nib.load(folder / f"{subject.subject_id}_t1.nii.gz")).get_fdata()
        np.testing.assert_array_equal(subject.image[..., 0], voxels)
        np.testing.assert_array_equal(np.asarray(subject.target("own")).reshape(voxels.shape), voxels)


def test_padding_surrounds_the_unpadded_volume(folder):
    plain = prepare_phase(open_at(folder), "training", SilentReporter())[1]
    session = open_at(folder, ("NETWORK.volume_padding_size", "3, 2, 1"), ("NETWORK.volume_padding_mode", "edge"))
    padded = prepare_phase(session, "training", SilentReporter())[1]
    inner = (slice(3, -3), slice(2, -2), slice(1, -1))
    assert padded.image.shape[:3] == tuple(np.add(plain.image.shape[:3], (6, 4, 2)))
    np.testing.assert_array_equal(padded.image[inner], plain.image)
    np.testing.assert_array_equal(padded.image[0], padded.image[3])
    np.testing.assert_array_equal(np.asarray(padded.target("ct"))[inner], plain.target("ct"))
    organs = np.asarray(padded.target("organs")).copy()
    np.testing.assert_array_equal(organs[inner], plain.target("organs"))
    organs[inner] = 0
    assert not organs.any()
    subject = session.cohort.subjects["b"]
    grid, unpadded = session.preparation.grid(subject), expected_grid(folder / "b_t1.nii.gz")[1]
    np.testing.assert_allclose(grid.affine @ [3, 2, 1, 1], unpadded[:, 3], atol=1e-4)


def test_foreground_statistics_leave_the_background_out(folder):
    for subject_id in IDS:
        path = folder / f"{subject_id}_t1.nii.gz"
        image = nib.load(path)
        voxels = np.asarray(image.dataobj).copy()
        voxels[:, :4] = 0
        nib.save(nib.Nifti1Image(voxels, image.affine), path)
    session = open_at(
        folder, *UNRESAMPLED, ("NETWORK.normalise_foreground_only", "yes"), ("NETWORK.normalisation", "no"),
        ("MULTITASK.image", "T1"), ("NETWORK.foreground_type", "threshold_plus"),
    )  # fmt: skip
    subject = session.cohort.subjects["a"]
    voxels = nib.as_closest_canonical(nib.load(folder / "a_t1.nii.gz")).get_fdata()
    inside = voxels[voxels > 0]
    expected = (voxels - inside.mean()) / inside.std()
    np.testing.assert_allclose(session.preparation.image(subject)[..., 0], expected, atol=1e-4)


@pytest.fixture
def reads(monkeypatch):
    """Paths of the files whose voxels were read."""
    paths = []

    def counting(read):
        def count(path, *arguments):
            paths.append(path.name)
            return read(path, *arguments)

        return count

    for name in ("read_image", "read_label_map"):
        monkeypatch.setattr(references, name, counting(getattr(references, name)))
    return paths


def test_a_second_session_reads_no_voxel_again(folder, reads):
    first = prepare_phase(open_at(folder), "training", SilentReporter())
    # Images are read once to fit the landmarks and once to be mapped by them.
    assert sorted(set(reads)) == sorted(f"{i}_{s}.nii.gz" for i in IDS for s in ("t1", "t2", "ct", "organs"))
    assert len(reads) == len(IDS) * (2 + 2 + 1 + 1)
    reads.clear()
    second = prepare_phase(open_at(folder), "training", SilentReporter())
    assert reads == []
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def test_only_what_a_change_touches_is_made_again(folder, reads):
    prepare_phase(open_at(folder), "training", SilentReporter())
    reads.clear()
    prepare_phase(open_at(folder, ("NETWORK.whitening", "no")), "training", SilentReporter())
    assert sorted(reads) == sorted(f"{i}_{s}.nii.gz" for i in IDS for s in ("t1", "t2"))
    reads.clear()
    path = folder / "b_organs.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.roll(np.asarray(image.dataobj), 1, axis=0), image.affine), path)
    prepare_phase(open_at(folder), "training", SilentReporter())
    assert reads == ["b_organs.nii.gz"]


def test_inference_takes_the_landmarks_that_training_wrote(folder):
    trained = open_at(folder)
    prepare_phase(trained, "training", SilentReporter())
    session = open_at(folder, training=False)
    assert session.preparation.landmarks.keys() == {"T1", "T2"}
    for name, landmarks in session.preparation.landmarks.items():
        np.testing.assert_allclose(landmarks.values, trained.preparation.landmarks[name].values, rtol=1e-12)


def test_an_exchanged_training_image_makes_the_landmarks_stale(folder):
    open_at(folder)
    path = folder / "a_t1.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj) // 2, image.affine), path)
    with pytest.raises(DataError, match=r"landmarks\.json.*stale"):
        open_at(folder)


@pytest.mark.parametrize(("source", "value"), [("t1", np.nan), ("ct", -np.inf)])
def test_a_voxel_that_is_no_number_is_refused_with_its_file(folder, source, value):
    path = folder / f"c_{source}.nii.gz"
    image = nib.load(path)
    voxels = np.asarray(image.dataobj, np.float32).copy()
    voxels[1, 2, 3] = value
    nib.save(nib.Nifti1Image(voxels, image.affine), path)
    with pytest.raises(DataError, match=rf"c_{source}\.nii\.gz: 1 voxels are NaN or infinite"):
        prepare_phase(open_at(folder), "training", SilentReporter())


def test_a_constant_image_is_refused_with_its_file(folder):
    for subject_id in IDS:
        image = nib.load(folder / f"{subject_id}_t1.nii.gz")
        voxels = np.full(image.shape, 5, np.int16) if subject_id == "b" else np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(voxels, image.affine), folder / f"{subject_id}_t2.nii.gz")
    for normalisation in ("yes", "no"):
        for foreground_only in ("yes", "no"):
            overrides = [*UNRESAMPLED, ("NETWORK.normalisation", normalisation)]
            overrides += [("NETWORK.normalise_foreground_only", foreground_only)]
            with pytest.raises(DataError, match=r"b_t2\.nii\.gz: .*(constant|contrast|every voxel is 5)"):
                prepare_phase(open_at(folder, *overrides), "training", SilentReporter())


@pytest.mark.parametrize("foreground_only", ["yes", "no"])
def test_what_training_does_to_an_image_is_a_pipeline_of_the_steps_of_preprocessing(folder, foreground_only):
    overrides = [("MULTITASK.image", "T1"), ("NETWORK.normalise_foreground_only", foreground_only)]
    session = open_at(folder, *overrides, ("NETWORK.volume_padding_size", "2, 0, 1"))
    pipeline = pipeline_of(session.config, "T1")
    assert pipeline.names == ("reorient", "resample", "histogram", "whiten", "pad")
    image = read_image(folder / "b_t1.nii.gz")
    fitted = {"histogram": session.preparation.landmarks["T1"]}
    before = pipeline.placing().apply(Volume(image.array, image.affine), StepContext("b"))
    mask = foreground_mask(before.array) if foreground_only == "yes" else None
    after = pipeline.measuring().apply(replace(before, foreground=mask), StepContext("b"), fitted=fitted)
    subject = session.cohort.subjects["b"]
    np.testing.assert_array_equal(session.preparation.image(subject)[..., 0], after.array)
    assert session.preparation.grid(subject).is_same(Grid(after.array.shape, after.affine))
