import numpy as np
import pytest

from sfgkeras.data.nifti import axis_codes, read_label_map, write_image
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.clipping import clip_intensities
from sfgkeras.preprocessing.conversion import convert
from sfgkeras.preprocessing.cropping import crop, foreground_box
from sfgkeras.preprocessing.pipeline import build_pipeline
from sfgkeras.preprocessing.resampling import resample_like, resample_to_spacing
from sfgkeras.preprocessing.volume import StepContext, Volume

from .conftest import AFFINE, body_image


@pytest.fixture
def volume():
    image, labels = body_image(0)
    return Volume(image.astype(np.float32), AFFINE, {"labels": labels})


def apply(volume, steps, **options):
    return build_pipeline(steps, options).apply(volume, StepContext("s0"))


def place_of_centre(array, affine):
    where = np.argwhere(array == 3).mean(axis=0)
    return affine @ np.append(where, 1)


def test_reorienting_turns_image_and_labels_and_moves_nothing(volume):
    turned = apply(volume, "reorient", reorient_axcodes="PSL")
    assert axis_codes(turned.affine) == ("P", "S", "L")
    assert turned.labels["labels"].shape == turned.array.shape
    np.testing.assert_allclose(
        place_of_centre(turned.labels["labels"], turned.affine),
        place_of_centre(volume.labels["labels"], volume.affine),
        atol=1e-9,
    )
    back = apply(turned, "reorient", reorient_axcodes="".join(axis_codes(volume.affine)))
    np.testing.assert_array_equal(back.array, volume.array)


def test_cropping_keeps_the_foreground_every_label_and_places(volume):
    volume.labels["labels"][0, 0, 0] = 9
    cropped = apply(volume, "crop_foreground", crop_foreground_margin="0")
    assert cropped.labels["labels"][0, 0, 0] == 9
    volume.labels["labels"][0, 0, 0] = 0
    cropped = apply(volume, "crop", crop_margin="3")
    assert cropped.array.size < volume.array.size
    assert np.sum(cropped.labels["labels"] == 1) == np.sum(volume.labels["labels"] == 1)
    np.testing.assert_allclose(
        place_of_centre(cropped.labels["labels"], cropped.affine),
        place_of_centre(volume.labels["labels"], volume.affine),
    )
    assert cropped.notes[-1].startswith(f"cropped from {volume.array.shape}")


def test_the_margin_widens_the_box_up_to_the_border():
    mask = np.zeros((10, 10, 10), dtype=bool)
    mask[1, 4:6, 9] = True
    assert foreground_box(mask, (2, 2, 2)) == (slice(0, 4), slice(2, 8), slice(7, 12))
    array, affine = crop(np.arange(1000).reshape(10, 10, 10), np.diag([2.0, 2, 2, 1]), foreground_box(mask))
    assert array.shape == (1, 2, 1)
    np.testing.assert_allclose(affine[:3, 3], [2, 8, 18])
    with pytest.raises(DataError, match="empty mask"):
        foreground_box(np.zeros((3, 3, 3), bool))


def test_clipping_by_limits_and_by_percentiles():
    image = np.arange(101, dtype=np.float32).reshape(1, 1, 101)
    assert clip_intensities(image, limits=(10, 20)).min() == 10
    clipped = clip_intensities(image, percentiles=(5, 95))
    assert (clipped.min(), clipped.max()) == (5, 95)
    with pytest.raises(DataError, match="not finite"):
        clip_intensities(np.array([np.nan]), limits=(0, 1))


def test_converting_keeps_whole_numbers_as_integers_and_refuses_loss():
    assert convert(np.array([1.0, 2.0], np.float32)).dtype.kind == "i"
    assert convert(np.array([1.5])).dtype == np.float32
    assert convert(np.array([1, 2]), "float32").dtype == np.float32
    assert convert(np.array([1.4, 2.6]), "integer").tolist() == [1, 3]
    with pytest.raises(DataError, match="without loss"):
        convert(np.array([1e30]), "integer")


def test_resampling_takes_the_labels_along(volume):
    resampled = apply(volume, "resample", resample_spacing="1.3", resample_order="3", resample_label_method="linear")
    expected, affine = resample_to_spacing(volume.array, volume.affine, 1.3, 3)
    np.testing.assert_array_equal(resampled.array, expected)
    np.testing.assert_array_equal(resampled.affine, affine)
    assert resampled.labels["labels"].shape == expected.shape
    old = np.sum(volume.labels["labels"] == 2) * np.prod(volume.spacing)
    new = np.sum(resampled.labels["labels"] == 2) * np.prod(resampled.spacing)
    assert new == pytest.approx(old, rel=0.02)


def test_a_reference_folder_gives_every_subject_its_own_grid(volume, tmp_path):
    shape, affine = (9, 10, 11), np.diag([5.0, 5, 5, 1])
    affine[:3, 3] = [-20, -30, -10]
    write_image(tmp_path / "s0.nii.gz", np.zeros(shape), affine)
    write_image(tmp_path / "s1.nii.gz", np.zeros((4, 4, 4)), np.eye(4))
    placed = apply(volume, "resample_like", resample_like_reference=tmp_path, resample_like_fill=-1)
    np.testing.assert_array_equal(placed.array, resample_like(volume.array, volume.affine, shape, affine, 1, fill=-1))
    assert placed.labels["labels"].shape == shape


@pytest.mark.parametrize(("lowest", "outside"), [(-1000.0, -1024.0), (-400.0, 0.0), (0.0, 0.0)])
def test_outside_a_ct_there_is_air_and_outside_all_else_nothing(lowest, outside, volume, tmp_path):
    affine = np.diag([3.0, 3, 3, 1])
    affine[:3, 3] = [900, 900, 900]
    write_image(tmp_path / "s0.nii.gz", np.zeros((4, 4, 4)), affine)
    array = np.full(volume.array.shape, 40.0, np.float32)
    array[0, 0, 0] = lowest
    placed = apply(volume.with_array(array), "resample_like", resample_like_reference=tmp_path)
    np.testing.assert_array_equal(placed.array, np.full((4, 4, 4), outside, np.float32))


def test_a_reference_folder_without_the_subject_is_refused(volume, tmp_path):
    with pytest.raises(DataError, match="has no image named s0"):
        apply(volume, "resample_like", resample_like_reference=tmp_path)


def test_the_bias_field_can_be_saved_and_used_with_weights(volume, tmp_path):
    options = {"n4_iterations": "3", "n4_save_field": "yes"}
    result = apply(volume, "n4", **options)
    (side,) = result.side_results
    np.testing.assert_allclose(result.array * side.array, volume.array, rtol=1e-4, atol=1e-3)
    assert (side.folder, side.suffix) == ("bias_field", ".nii.gz")
    write_image(tmp_path / "s0.nii.gz", np.ones(volume.array.shape), AFFINE)
    weighted = apply(volume, "n4", n4_weights=tmp_path, n4_engine="antspyx", n4_iterations="3")
    assert weighted.array.shape == volume.array.shape
    write_image(tmp_path / "s0.nii.gz", np.ones((3, 3, 3)), AFFINE)
    with pytest.raises(DataError, match=r"weights of shape \(3, 3, 3\)"):
        apply(volume, "n4", n4_weights=tmp_path, n4_engine="antspyx")


def test_integers_after_conversion_are_written_as_integers(volume, tmp_path):
    converted = apply(volume, "reorient, convert")
    write_image(tmp_path / "x.nii.gz", converted.array, converted.affine)
    assert read_label_map(tmp_path / "x.nii.gz").header.dtype.kind in "iu"


@pytest.mark.parametrize(("mode", "rim"), [("constant", 0.0), ("edge", 1.0)])
def test_a_padded_image_keeps_its_place_and_its_labels_their_voxels(mode, rim):
    affine = np.array([[0, -2.0, 0, 5], [1.0, 0, 0, -3], [0, 0, 4.0, 0], [0, 0, 0, 1]])
    volume = Volume(np.ones((3, 4, 2), np.float32), affine, {"organs": np.full((3, 4, 2), 7, np.uint8)})
    padded = apply(volume, "pad", pad_voxels="1, 2, 0", pad_mode=mode)
    assert padded.array.shape == padded.labels["organs"].shape == (5, 8, 2)
    np.testing.assert_array_equal(padded.array[1:4, 2:6], volume.array)
    assert padded.array[0].max() == rim
    assert padded.labels["organs"].sum() == 7 * 24
    np.testing.assert_allclose(padded.affine @ [1, 2, 0, 1], affine @ [0, 0, 0, 1])
