"""Steps that move voxels and change none: against nibabel, NumPy and masks that are looked through point by point."""

import itertools

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sfgkeras.errors import ConfigError, DataError, Problem
from sfgkeras.preprocessing.cropping import CropSettings, crop, crop_step, foreground_box
from sfgkeras.preprocessing.orientation import ReorientSettings, reorient_step
from sfgkeras.preprocessing.padding import PadSettings, pad, pad_step, padded_affine
from sfgkeras.preprocessing.resample_steps import ResampleLikeSettings, ResampleSettings, resample_step
from sfgkeras.preprocessing.resampling import parallel_grid, resample_like, spacing_grid
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.tables.padding import PADDING_MODES

CONTEXT = StepContext("s1")
AFFINE = np.array([[0.0, -2, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
ARRAY = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
CODES = [
    "".join(letters) for axes in itertools.permutations(("RL", "AP", "SI")) for letters in itertools.product(*axes)
]


def places_of(volume):
    """Returns the value at every place in the scanner, in tenths of a millimetre."""
    voxels = np.argwhere(np.ones(volume.array.shape, bool))
    world = np.rint(10 * (voxels @ volume.affine[:3, :3].T + volume.affine[:3, 3])).astype(int)
    return dict(zip(map(tuple, world.tolist()), volume.array.ravel().tolist(), strict=True))


@pytest.mark.parametrize("codes", CODES)
def test_all_48_orientations_are_those_of_nibabel_and_leave_every_value_at_its_place(codes):
    volume = Volume(ARRAY, AFFINE, {"organs": (ARRAY > 0).astype(np.uint8)})
    turned = reorient_step(volume, ReorientSettings(axcodes=tuple(codes)), CONTEXT)
    assert "".join(nibabel.aff2axcodes(turned.affine)) == codes
    assert places_of(turned) == places_of(volume)
    np.testing.assert_array_equal(turned.labels["organs"], turned.array > 0)
    image = nibabel.Nifti1Image(ARRAY, AFFINE)
    change = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(tuple(codes))
    )
    np.testing.assert_array_equal(turned.array, image.as_reoriented(change).get_fdata().astype(np.float32))
    assert turned.notes == (f"reoriented from ALS to {codes}",)


def test_an_orientation_may_be_written_in_one_word_or_three_letters():
    assert ReorientSettings(axcodes=("LPS",)).axcodes == ReorientSettings(axcodes=("L", "P", "S")).axcodes
    for codes in (("R", "L", "S"), ("RA",), ("X", "A", "S")):
        with pytest.raises(ConfigError):
            ReorientSettings(axcodes=codes)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(npst.arrays(bool, npst.array_shapes(min_dims=3, max_dims=3, max_side=6)), st.integers(0, 3))
def test_a_box_is_the_smallest_around_a_mask_and_its_margin_within_the_image(mask, margin):
    if not mask.any():
        with pytest.raises(DataError, match="no foreground: there is no box around an empty mask"):
            foreground_box(mask)
        return
    voxels = np.argwhere(mask)
    for side, low, high, length in zip(
        foreground_box(mask, (margin,) * 3), voxels.min(axis=0), voxels.max(axis=0), mask.shape, strict=True
    ):
        kept = range(length)[side]
        assert (kept[0], kept[-1]) == (max(low - margin, 0), min(high + margin, length - 1))


def test_what_is_cut_out_keeps_its_place_in_any_orientation():
    array, affine = crop(ARRAY, AFFINE, np.s_[1:3, 2:5, 0:2])
    cut = places_of(Volume(array, affine))
    whole = places_of(Volume(ARRAY, AFFINE))
    assert len(cut) == 2 * 3 * 2
    assert cut.items() <= whole.items()
    channels, _ = crop(np.stack([ARRAY, -ARRAY], axis=-1), AFFINE, np.s_[1:3, 2:5, 0:2])
    np.testing.assert_array_equal(channels[..., 1], -array)


def test_a_margin_is_in_millimetres_and_rounded_up_to_whole_voxels():
    """4 mm are 3 voxels of 1.5 mm, 2 of 2 mm and 2 of 3 mm."""
    image = np.zeros((20, 20, 20), np.float32)
    image[8:12, 8:12, 8:12] = 100
    rule = {"foreground": "threshold_plus", "threshold": 50.0}
    found = crop_step(Volume(image, AFFINE), CropSettings(margin=4.0, **rule), CONTEXT)
    assert found.array.shape == (4 + 2 * 3, 4 + 2 * 2, 4 + 2 * 2)
    assert crop_step(Volume(image, AFFINE), CropSettings(margin=0.0, **rule), CONTEXT).array.shape == (4, 4, 4)
    with pytest.raises(ConfigError, match="margin"):
        CropSettings(margin=-1.0)
    with pytest.raises(ConfigError, match="foreground"):
        CropSettings(foreground="all")


@pytest.mark.parametrize("mode", PADDING_MODES)
@pytest.mark.parametrize("voxels", [(1, 2, 0), (0, 0, 2)])
def test_a_rim_is_numpys_and_what_was_there_keeps_its_place(mode, voxels):
    found = pad(ARRAY, voxels, mode)
    np.testing.assert_array_equal(found, np.pad(ARRAY, [(n, n) for n in voxels], mode=mode))
    moved = places_of(Volume(found, padded_affine(AFFINE, voxels)))
    assert places_of(Volume(ARRAY, AFFINE)).items() <= moved.items()
    channels = pad(np.stack([ARRAY, -ARRAY], axis=-1), voxels, mode)
    np.testing.assert_array_equal(channels[..., 0], found)
    assert channels.shape == (*found.shape, 2)


def test_no_rim_is_the_array_itself_and_labels_get_background_whatever_the_mode():
    assert pad(ARRAY, (0, 0, 0)) is ARRAY
    volume = Volume(ARRAY, AFFINE, {"organs": np.full(ARRAY.shape, 3, np.uint8)})
    found = pad_step(volume, PadSettings(voxels=(1,), mode="reflect"), CONTEXT)
    assert found.labels["organs"].sum() == 3 * ARRAY.size
    assert found.notes == ("padded from (4, 5, 3) to (6, 7, 5) voxels",)
    assert PadSettings(voxels=(2,)).voxels == (2, 2, 2)
    for voxels in ((1, 2), (), (1, 2, 3, 4)):
        with pytest.raises(Problem, match="needs one number or three"):
            PadSettings(voxels=voxels)
    with pytest.raises(ConfigError, match="voxels"):
        PadSettings(voxels=(-1,))


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(), (0,), (1, 2)])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_onto_a_turned_grid_values_are_moved_exactly_and_never_shared(axes, flips, order):
    """Results that share memory with the image would change it where a later step writes into them."""
    volume = Volume(ARRAY.copy(), AFFINE)
    turned, affine = ARRAY, AFFINE.copy()
    for axis in flips:
        turned = np.flip(turned, axis)
        affine[:3, 3] += affine[:3, axis] * (ARRAY.shape[axis] - 1)
        affine[:3, axis] *= -1
    turned, affine = np.transpose(turned, axes), affine[:, [*axes, 3]]
    found = resample_like(volume.array, AFFINE, turned.shape, affine, order)
    np.testing.assert_array_equal(found, turned)
    found[...] = 0
    np.testing.assert_array_equal(volume.array, ARRAY)
    grid = parallel_grid(np.linalg.inv(AFFINE) @ affine, turned.shape)
    assert grid.sources == axes
    np.testing.assert_allclose(np.abs(grid.steps), 1)


def test_the_spacing_of_now_changes_nothing_and_labels_are_resampled_by_their_method():
    labels = {"organs": (ARRAY > 0).astype(np.uint8)}
    volume = Volume(ARRAY, np.diag([2.0, 2, 3, 1]), labels)
    same = resample_step(volume, ResampleSettings(spacing=(2.0, 2.0, 3.0)), CONTEXT)
    assert same.array is ARRAY, "a float image on the same grid is not copied"
    np.testing.assert_array_equal(same.labels["organs"], labels["organs"])
    one = resample_step(volume, ResampleSettings(spacing=(1.0,)), CONTEXT)
    assert one.array.shape == (8, 10, 9)
    assert one.notes == ("resampled from (4, 5, 3) to (8, 10, 9) voxels",)
    nearest, linear = (
        resample_step(volume, ResampleSettings(spacing=(0.7,), label_method=method), CONTEXT).labels["organs"]
        for method in ("nearest", "linear")
    )
    assert (nearest != linear).any()
    assert set(np.unique(linear)) <= {0, 1}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ResampleSettings(spacing=(1.0, 2.0)), "needs one number or three, in mm"),
        (lambda: ResampleSettings(spacing=(0.0,)), "spacing"),
        (lambda: ResampleSettings(order=4), "order = 4 does not exist; known are 0"),
        (lambda: ResampleSettings(label_method="cubic"), "label_method"),
        (lambda: ResampleLikeSettings(), "resample_like needs resample_like_reference"),
        (lambda: ResampleLikeSettings(reference="x", order=-1), "order = -1 does not exist"),
    ],
)
def test_settings_of_resampling_that_cannot_be_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.tuples(*[st.integers(1, 40)] * 3),
    st.tuples(*[st.floats(0.3, 4)] * 3),
    st.tuples(*[st.one_of(st.none(), st.floats(0.3, 6))] * 3),
)
def test_a_new_grid_covers_the_box_of_the_old_one_to_half_a_new_voxel(shape, old, new):
    affine = np.diag([*old, 1.0])
    new_shape, new_affine = spacing_grid(shape, affine, new)
    wanted = [o if n is None else n for o, n in zip(old, new, strict=True)]
    np.testing.assert_allclose(np.diag(new_affine)[:3], wanted)
    for axis in range(3):
        extent, size = shape[axis] * old[axis], new_shape[axis] * wanted[axis]
        assert new_shape[axis] >= 1
        assert abs(size - extent) <= max(0.5 * wanted[axis], wanted[axis] - extent) + 1e-3
        low = new_affine[axis, 3] - wanted[axis] / 2
        if extent >= 0.51 * wanted[axis]:
            assert low == pytest.approx(-old[axis] / 2, abs=1e-6), "the outer faces of the first voxels coincide"
        if new[axis] is None:
            assert new_shape[axis] == shape[axis]
