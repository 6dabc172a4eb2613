"""Grids of sources against nnU-Net's rule worked out by hand, whatever orientation files are stored in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.applications.planning.geometry import Geometry, measure_geometry, relation, slice_axis

from .conftest import Drawn, drawn

BOX = np.zeros((6, 5, 4))


def geometry(spacings, shapes):
    return Geometry(np.array(spacings, float), np.array(shapes), {"RAS": len(shapes)})


def turned(source, axes=(1, 0, 2), flip=(0,)):
    """Returns the same source, stored with other axes: the same voxels in the same places."""
    images = {}
    for subject, image in source.images.items():
        to_old = np.zeros((4, 4))
        to_old[3, 3] = 1
        for new, old in enumerate(axes):
            to_old[old, new] = -1 if new in flip else 1
            to_old[old, 3] = image.array.shape[old] - 1 if new in flip else 0
        array = np.flip(image.array.transpose(axes), flip)
        images[subject] = Drawn(f"turned {subject}", array, image.affine @ to_old)
    return images


def test_orientation_does_not_part_grids():
    source = drawn("T1", [BOX, BOX], spacing=(1.0, 2.0, 3.0), origin=(5.0, -7.0, 2.0))
    assert relation(source.images, turned(source)) == "same"
    found, other = measure_geometry(source.images), measure_geometry(turned(source))
    np.testing.assert_allclose(other.spacings, [[1, 2, 3]] * 2)
    np.testing.assert_array_equal(other.shapes, found.shapes)
    assert found.orientations == {"RAS": 2}
    assert other.orientations == {"PRS": 2}


@pytest.mark.parametrize(
    ("origin", "spacing", "expected"),
    [
        ((0, 0, 0), (2, 2, 2), "same"),
        ((0.05, 0, 0), (2, 2, 2), "same"),  # a fortieth of a voxel
        ((1, 0, 0), (2, 2, 2), "overlapping"),
        ((0, 0, 0), (2, 2, 2.5), "overlapping"),
        ((0, 0, 500), (2, 2, 2), "apart"),
    ],
)
def test_relations_of_one_subject(origin, spacing, expected):
    assert relation(drawn("A", [BOX]).images, drawn("B", [BOX], spacing=spacing, origin=origin).images) == expected


def test_another_shape_is_another_grid_of_volumes_and_photos():
    assert relation(drawn("A", [BOX]).images, drawn("B", [BOX[1:]]).images) == "overlapping"
    photo = np.zeros((6, 5, 1, 3))
    for other, expected in ((np.zeros((6, 5, 1)), "same"), (np.zeros((5, 6, 1)), "overlapping")):
        label = drawn("B", [other], photo=True, spacing=(9, 9, 9))  # photos have no place in space
        assert relation(drawn("A", [photo], photo=True).images, label.images) == expected


@pytest.mark.parametrize(
    ("number", "apart", "expected"), [(10, 1, "same"), (10, 2, "apart"), (9, 1, "apart"), (1, 1, "apart")]
)
def test_one_subject_in_ten_may_lie_elsewhere(number, apart, expected):
    one = drawn("A", [BOX] * number).images
    other = drawn("B", [BOX] * number).images | drawn("B", [BOX] * apart, origin=(500, 0, 0)).images
    assert relation(one, other) == expected
    assert relation(one, drawn("C", {"another": BOX}).images) == "shared"


def test_voxels_are_brought_to_the_median_of_each_axis():
    found = geometry([[1, 1, 2], [1.2, 1.2, 2], [2, 2, 5]], [[100, 100, 80]] * 3)
    sides, why = found.target_spacing()
    assert sides == (1.2, 1.2, 2)
    assert why == "the median of 3 volumes, which have 1 x 1 x 2 to 2 x 2 x 5 mm"


def test_across_thick_and_few_slices_the_thin_ones_count():
    thickness = np.array([3.0, 6, 6, 6, 6])
    spacings = np.stack([np.ones(5), np.ones(5), thickness], axis=1)
    sides, why = geometry(spacings, [[100, 100, 20]] * 5).target_spacing()
    assert sides == (1, 1, pytest.approx(np.percentile(thickness, 10), rel=1e-4))
    assert "the 10th percentile, 4.2 mm" in why
    # As many slices as a third of the voxels across them are not few, and five times as thick is what it takes.
    assert geometry(spacings, [[100, 100, 40]] * 5).target_spacing()[0] == (1, 1, 6)
    assert geometry(spacings * [2.5, 2.5, 1], [[100, 100, 20]] * 5).target_spacing()[0] == (2.5, 2.5, 6)
    # Not three times as thick as either side: of one of them alone.
    assert geometry(spacings * [1, 2.5, 1], [[100, 100, 20]] * 5).target_spacing()[0] == (1, 2.5, 6)


def test_voxels_are_not_made_thinner_than_they_are_wide():
    spacings = [[1, 1, 0.5], *[[1, 1, 6]] * 4]
    thin = np.percentile([0.5, 6, 6, 6, 6], 10)
    assert geometry(spacings, [[100, 100, 20]] * 5).target_spacing()[0][2] == pytest.approx(thin, rel=1e-4)
    spacings = [[1, 1, 0.5]] * 2 + [[1, 1, 6]] * 3
    assert geometry(spacings, [[100, 100, 20]] * 5).target_spacing()[0] == (1, 1, 1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(*[st.floats(0.3, 8)] * 3), min_size=1, max_size=6),
    st.tuples(*[st.integers(4, 300)] * 3),
    st.permutations(range(3)),
)
def test_the_names_of_axes_do_not_matter(spacings, shape, order):
    sides, _ = geometry(spacings, [shape] * len(spacings)).target_spacing()
    other, _ = geometry(np.array(spacings)[:, order], [np.array(shape)[order]] * len(spacings)).target_spacing()
    if len(set(np.median(spacings, axis=0))) == 3:  # of two axes of the same thickness the first one is taken
        assert other == tuple(np.array(sides)[order])
    for side, axis in zip(sides, np.array(spacings).T, strict=True):
        assert axis.min() * (1 - 1e-4) <= side <= axis.max() * (1 + 1e-4)


@pytest.mark.parametrize(
    ("shape", "spacing", "axis", "why"),
    [
        ((100, 100, 100), (1, 1, 1), 2, "axial ones are the usual"),
        ((100, 100, 100), (1, 3, 1), 1, "slices are thickest from back to front, 3 mm"),
        ((20, 100, 100), (1, 3, 1), 1, "slices are thickest from back to front, 3 mm"),
        ((20, 100, 100), (1, 1.4, 1), 0, "the volume is thinnest from left to right, 20 voxels"),
        ((50, 100, 100), (1, 1, 1), 2, "axial ones are the usual"),  # half is not thin
        ((100, 49, 98.5), (1, 1, 1), 1, "the volume is thinnest from back to front, 49 voxels"),
        ((100, 100, 100), (1.5, 1, 1), 0, "slices are thickest from left to right, 1.5 mm"),
    ],
)
def test_slices_are_cut_across_the_thickest_or_shortest_axis(shape, spacing, axis, why):
    found, reason = slice_axis(shape, spacing)
    assert found == axis
    assert why in reason


def test_sizes_in_words():
    one = geometry([[0.51234, 0.5, 3]] * 2, [[256, 256, 20]] * 2)
    assert (one.describe_spacings(), one.describe_shapes()) == ("0.512 x 0.5 x 3 mm", "256 x 256 x 20 voxels")
    mixed = geometry([[0.5, 0.5, 3], [1, 0.5, 4]], [[256, 256, 20], [200, 256, 30]])
    assert mixed.describe_spacings() == "0.5 x 0.5 x 3 to 1 x 0.5 x 4 mm"
    assert mixed.describe_shapes() == "200 x 256 x 20 to 256 x 256 x 30 voxels"


def test_a_hundredth_of_a_side_is_rounding():
    assert geometry([[1, 1, 3], [1.009, 1, 3]], [[9, 9, 9]] * 2).is_uniform
    assert not geometry([[1, 1, 3], [1.02, 1, 3]], [[9, 9, 9]] * 2).is_uniform


def test_shapes_at_other_voxels_cover_the_same_millimetres():
    found = geometry([[1, 2, 3], [2, 2, 2]], [[10, 10, 10], [7, 8, 9]])
    np.testing.assert_array_equal(found.shapes_at((2, 2, 1.5)), [[5, 10, 20], [7, 8, 12]])
    assert found.shapes_at(None) is found.shapes
