import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_opening, label

from sfgkeras.errors import DataError
from sfgkeras.phantom.pelvis import LABELS, SIZES, build_phantom, write_phantom_cohort
from sfgkeras.phantom.pelvis_anatomy import draw_parts
from sfgkeras.phantom.solids import Cup, Ellipsoid, Intersection, Texture, Tube, Union

SEED = 11
KINDS = ("mr", "ct", "organs")


@pytest.fixture(scope="module")
def phantoms():
    return [build_phantom(SEED, subject, "small") for subject in range(4)]


@pytest.fixture(scope="module")
def full_phantom():
    return build_phantom(SEED, 1, "full")


def center(phantom, name):
    voxels = np.argwhere(phantom.organs.array == LABELS[name])
    return (phantom.organs.affine @ np.append(voxels.mean(axis=0), 1))[:3]


def test_images_have_the_types_grids_and_spacings_of_their_modalities(phantoms):
    for phantom in phantoms:
        assert (phantom.mr.array.dtype, phantom.ct.array.dtype) == (np.int16, np.int16)
        assert phantom.organs.array.dtype == np.uint8
        for kind, volume in (("mr", phantom.mr), ("ct", phantom.ct), ("ct", phantom.organs)):
            assert volume.array.shape == SIZES["small"][kind].shape
            np.testing.assert_allclose(np.linalg.norm(volume.affine[:3, :3], axis=0), SIZES["small"][kind].spacing)
        np.testing.assert_array_equal(phantom.ct.affine, phantom.organs.affine)
        assert not np.allclose(phantom.ct.affine[:3, 3], phantom.mr.affine[:3, 3])


def test_the_full_size_covers_the_field_of_view_of_the_paper():
    for grid in SIZES["full"].values():
        extent = np.multiply(grid.shape, grid.spacing)
        assert np.all(extent >= (288 * 1.46 - 1, 288 * 1.46 - 1, 62 * 1.46 - 1))


def test_every_organ_is_one_piece_of_a_plausible_volume(phantoms):
    millilitres = {"prostate": (12, 110), "bladder": (20, 260), "rectum": (25, 180)}
    for phantom in phantoms:
        assert set(np.unique(phantom.organs.array)) == {0, *LABELS.values()}
        voxel = abs(np.linalg.det(phantom.organs.affine[:3, :3])) / 1000
        for name, value in LABELS.items():
            inside = phantom.organs.array == value
            assert label(inside)[1] == 1, name
            low, high = millilitres.get(name, (30, 110))
            assert low < inside.sum() * voxel < high, name


def test_organs_lie_where_they_belong_in_ras_coordinates(phantoms):
    for phantom in phantoms:
        assert center(phantom, "bladder")[2] > center(phantom, "prostate")[2] + 20
        assert center(phantom, "rectum")[1] < center(phantom, "prostate")[1] - 20
        left, right = center(phantom, "left_femoral_head"), center(phantom, "right_femoral_head")
        assert left[0] < -60 < 60 < right[0]
        assert abs(center(phantom, "prostate")[0]) < 25


def test_tissues_have_their_hounsfield_units(phantoms):
    for phantom in phantoms:
        ct, organs = phantom.ct.array, phantom.organs.array
        assert abs(np.median(ct[:3]) + 1000) < 15
        assert 0 <= np.median(ct[organs == LABELS["bladder"]]) < 30
        assert 30 < np.median(ct[organs == LABELS["prostate"]]) < 55
        assert 130 < np.median(ct[organs == LABELS["left_femoral_head"]]) < 420
        assert ct.max() > 700
        body = ct > -500
        assert -115 < np.median(ct[body & (ct < -60)]) < -80


@pytest.mark.slow
def test_cortical_bone_and_air_are_both_dark_in_mr_and_urine_is_bright(full_phantom):
    phantom = full_phantom
    to_mr = np.linalg.inv(phantom.mr.affine) @ phantom.ct.affine

    def mr_at(mask):
        points = to_mr @ np.append(np.argwhere(mask), np.ones((mask.sum(), 1)), axis=1).T
        index = np.rint(points[:3]).astype(int)
        inside = np.all((index >= 0) & (index < np.array(phantom.mr.array.shape)[:, None]), axis=0)
        return phantom.mr.array[tuple(index[:, inside])]

    ct, organs = phantom.ct.array, phantom.organs.array
    air, bone = ct < -900, ct > 750
    muscle, fat = (ct > 45) & (ct < 60) & (organs == 0), (ct < -80) & (ct > -120)
    urine = organs == LABELS["bladder"]
    levels = [np.median(mr_at(mask)) for mask in (air, muscle, fat, urine)]
    assert levels == sorted(levels)
    assert np.percentile(mr_at(bone), 25) < 0.5 * levels[2]
    assert np.percentile(mr_at(air), 75) < np.median(mr_at(bone)) < levels[2]


def test_mr_and_ct_show_the_body_at_the_same_place(phantoms):
    for phantom in phantoms:
        boxes = []
        for volume, threshold in (
            (phantom.mr, 0.2 * np.percentile(phantom.mr.array, 95)),
            (phantom.ct, -500),
        ):
            body = binary_opening(volume.array[:, :, volume.array.shape[2] // 2] > threshold)
            corners = [(*voxel, volume.array.shape[2] // 2, 1) for voxel in np.argwhere(body)]
            world = (volume.affine @ np.array(corners).T)[:2]
            boxes.append(np.concatenate([world.min(axis=1), world.max(axis=1)]))
        np.testing.assert_allclose(*boxes, atol=8)


def test_the_body_lies_inside_the_image_from_left_to_right_and_back_to_front(phantoms):
    for phantom in phantoms:
        border = np.ones(phantom.ct.array.shape, bool)
        border[1:-1, 1:-1] = False
        assert phantom.ct.array[border].max() < -500


def test_a_subject_depends_on_seed_and_number_alone(phantoms):
    again = build_phantom(SEED, 2, "small")
    for kind in KINDS:
        np.testing.assert_array_equal(getattr(again, kind).array, getattr(phantoms[2], kind).array)
        np.testing.assert_array_equal(getattr(again, kind).affine, getattr(phantoms[2], kind).affine)
    other = build_phantom(SEED + 1, 2, "small")
    assert (other.organs.array != again.organs.array).mean() > 0.003
    assert (phantoms[1].organs.array != again.organs.array).mean() > 0.003


@pytest.mark.slow
def test_intensity_alone_does_not_tell_the_prostate(full_phantom):
    phantom = full_phantom
    inside = phantom.organs.array == LABELS["prostate"]
    around = binary_dilation(inside, iterations=25) & ~inside & (phantom.organs.array == 0)
    low, high = np.percentile(phantom.ct.array[inside], (10, 90))
    assert ((phantom.ct.array[around] > low) & (phantom.ct.array[around] < high)).sum() > 0.1 * inside.sum()


def test_every_scanner_has_its_own_gain(phantoms):
    levels = [np.percentile(phantom.mr.array, 99) for phantom in phantoms]
    assert max(levels) > 1.3 * min(levels)


def test_oblique_slices_are_tilted_in_mr_only():
    phantom = build_phantom(SEED, 0, "small", oblique=True)
    direction = phantom.mr.affine[:3, :3] / np.linalg.norm(phantom.mr.affine[:3, :3], axis=0)
    np.testing.assert_allclose(direction @ direction.T, np.eye(3), atol=1e-12)
    assert 4 < np.degrees(np.arccos(direction[2, 2])) < 14
    assert np.count_nonzero(phantom.ct.affine[:3, :3]) == 3


def test_a_cohort_is_written_whole_and_byte_for_byte_again(tmp_path):
    seen = []
    files = write_phantom_cohort(
        tmp_path / "a", 2, "small", seed=3, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 2), (2, 2)]
    names = [f"phantom_{i:03d}_{kind}.nii.gz" for i in range(2) for kind in KINDS]
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == sorted(names)
    assert [file.name for file in files] == names
    write_phantom_cohort(tmp_path / "b", 1, "small", seed=3)
    for name in names[:3]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_is_read_back_is_what_was_drawn(tmp_path):
    write_phantom_cohort(tmp_path, 1, "small", seed=SEED, oblique=True)
    phantom = build_phantom(SEED, 0, "small", oblique=True)
    for kind in KINDS:
        image = nib.load(tmp_path / f"phantom_000_{kind}.nii.gz")
        volume = getattr(phantom, kind)
        np.testing.assert_array_equal(np.asanyarray(image.dataobj), volume.array)
        np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)
        assert nib.aff2axcodes(image.affine) == ("R", "A", "S")


def test_existing_files_are_refused_unless_told_otherwise(tmp_path):
    (tmp_path / "phantom_001_ct.nii.gz").write_text("mine")
    with pytest.raises(DataError, match=r"phantom_001_ct\.nii\.gz: exists already"):
        write_phantom_cohort(tmp_path, 2, "small")
    assert [file.name for file in tmp_path.iterdir()] == ["phantom_001_ct.nii.gz"]
    write_phantom_cohort(tmp_path, 2, "small", overwrite=True)
    assert nib.load(tmp_path / "phantom_001_ct.nii.gz").shape == SIZES["small"]["ct"].shape


def test_unknown_sizes_and_empty_cohorts_are_refused(tmp_path):
    with pytest.raises(ValueError, match="size = 'huge' is not one of full, small"):
        build_phantom(0, 0, "huge")
    with pytest.raises(ValueError, match="num_subjects = 0 must be 1 or more"):
        write_phantom_cohort(tmp_path, 0)


def test_ten_small_subjects_take_less_than_twenty_seconds(tmp_path):
    start = time.process_time()
    write_phantom_cohort(tmp_path, 10, "small")
    assert time.process_time() - start < 20


def test_the_phantom_never_loads_tensorflow():
    code = "import sys, sfgkeras.phantom.pelvis; sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def sampled(shape, step=0.5, reach=12):
    axis = np.arange(-reach, reach, step, dtype=np.float32) + np.float32(step / 2)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    return shape.distance(x, y, z), step**3


@pytest.mark.parametrize(
    ("shape", "volume"),
    [
        (Ellipsoid((1, 0, -1), (8, 5, 3), (10, 20, 30)), 4 / 3 * np.pi * 8 * 5 * 3),
        (Tube([(-4, 0, 0), (5, 0, 0)], [3, 3]), np.pi * 9 * 9 + 4 / 3 * np.pi * 27),
        (Cup((0, 0, 0), 5, 8, (0, 0, 1), -50), 4 / 3 * np.pi * (512 - 125)),
        (Cup((0, 0, 0), 5, 8, (0, 1, 0), 0), 2 / 3 * np.pi * (512 - 125)),
        (Union([Ellipsoid((-5, 0, 0), (4,) * 3), Ellipsoid((5, 0, 0), (4,) * 3)]), 8 / 3 * np.pi * 64),
        (
            Intersection(Ellipsoid((0, 0, 0), (6,) * 3), Ellipsoid((0, 0, 0), (10,) * 3), 2.0),
            4 / 3 * np.pi * 64,
        ),
    ],
)
def test_shapes_fill_their_volume_and_stay_in_their_box(shape, volume):
    distance, voxel = sampled(shape)
    assert abs((distance < 0).sum() * voxel / volume - 1) < 0.03
    low, high = shape.bounds()
    points = np.argwhere(distance < 0) * 0.5 - 11.75
    assert np.all(points >= low - 1e-5)
    assert np.all(points <= high + 1e-5)


def test_distances_are_in_millimetres_near_the_surface():
    z = np.zeros(5, np.float32)
    x = np.array([28.0, 29.0, 30.0, 31.0, 33.0], np.float32)
    for shape in (Ellipsoid((0, 0, 0), (30, 12, 9)), Ellipsoid((0, 0, 0), (30, 12, 9), power=4)):
        np.testing.assert_allclose(shape.distance(x, z, z), x - 30, atol=0.15 * np.abs(x - 30).max())
    assert Ellipsoid((0, 0, 0), (30, 12, 9)).distance(z, z, z)[0] == pytest.approx(-9, rel=0.01)


def test_textures_are_standardised_and_periodic():
    texture = Texture.draw(np.random.default_rng(0))
    points = np.random.default_rng(1).uniform(-200, 200, (3, 20000)).astype(np.float32)
    values = texture(points, 6.0)
    assert abs(values.mean()) < 0.1
    assert 0.8 < values.std() < 1.2
    np.testing.assert_allclose(texture(points + 24 * 6.0, 6.0), values, atol=2e-3)


def test_no_part_is_painted_over_the_prostate_by_bone():
    for seed in range(20):
        parts = draw_parts(np.random.default_rng(seed))
        prostate = next(part.shape for part in parts if part.label == LABELS["prostate"])
        points = np.random.default_rng(0).uniform(-60, 60, (3, 4000)).astype(np.float32)
        inside = prostate.distance(*points) < 0
        for part in parts[-11:]:
            assert part.label in (4, 5) or part.layers[0][1] in ("cortical_bone", "cartilage")
            assert part.shape.distance(*points[:, inside]).min() > -1.0
