"""Reading and writing images, against nibabel, SimpleITK and pillow on their own, and on broken files."""

import csv
import gzip
import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfgkeras.data import nifti
from sfgkeras.errors import ConfigError, DataError

OBLIQUE = np.array([[-0.9, 0.1, 0.3, 40.0], [0.2, 1.1, -0.2, -30.5], [0.1, 0.3, 2.4, 12.25], [0, 0, 0, 1.0]])
AXCODES = [
    tuple(letters) for order in itertools.permutations(["LR", "PA", "IS"]) for letters in itertools.product(*order)
]


def save(path: Path, array, affine=OBLIQUE, kind=nib.Nifti1Image, **fields) -> Path:
    """Writes an image with nibabel, then overwrites header fields that nibabel would mend."""
    image = kind(array, affine, dtype=array.dtype)
    nib.save(image, path)
    if fields:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(path, "rb") as stream:
            content = stream.read()
        header = type(image.header)(content[: image.header.sizeof_hdr], check=False)
        for name, value in fields.items():
            header[name] = value
        with opener(path, "wb") as stream:
            stream.write(header.binaryblock + content[image.header.sizeof_hdr :])
    return path


def ramp(shape=(5, 4, 3), dtype=np.int16) -> np.ndarray:
    return (np.arange(np.prod(shape)).reshape(shape) - 7).astype(dtype)


# ---------------------------------------------------------------- NIfTI in all its forms


@pytest.mark.parametrize("ending", [".nii", ".nii.gz", ".img", ".hdr"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
def test_every_form_of_nifti_reads_as_nibabel_reads_it(tmp_path, ending, kind):
    if ending in (".img", ".hdr"):
        kind = nib.Nifti1Pair if kind is nib.Nifti1Image else nib.Nifti2Pair
    path = save(tmp_path / f"image{ending}", ramp(), kind=kind)
    image = nifti.read_image(path)
    assert image.array.dtype == np.float32
    assert np.array_equal(image.array, nib.load(path).get_fdata())
    assert np.array_equal(image.affine, nib.load(path).affine)
    assert image.header.dtype == np.int16


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_data_type_and_byte_order_reads_as_nibabel_reads_it(tmp_path, dtype, order):
    array = ramp(dtype=dtype)
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(dtype).newbyteorder(order))
    nib.save(nib.Nifti1Image(array, OBLIQUE, header), tmp_path / "image.nii.gz")
    assert nib.load(tmp_path / "image.nii.gz").header.endianness == order
    stored = nifti.read_stored(tmp_path / "image.nii.gz")
    assert stored.array.dtype == np.dtype(dtype)
    assert stored.array.dtype.isnative
    assert np.array_equal(stored.array, array)
    assert np.array_equal(nifti.read_image(tmp_path / "image.nii.gz").array, array.astype(np.float32))


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4"])
@pytest.mark.parametrize(("slope", "intercept"), [(0.37, 0.0), (1.0, -1024.0), (-2.5, 3.125), (1 / 255, 7.0)])
def test_slope_and_intercept_give_the_float32_nearest_to_nibabels_float64(tmp_path, dtype, slope, intercept):
    array = np.random.default_rng(0).integers(-120, 120, (50, 40, 45)).astype(dtype)
    path = save(tmp_path / "image.nii.gz", array, scl_slope=slope, scl_inter=intercept)
    reference = nib.load(path).get_fdata()
    assert not np.array_equal(reference, array)
    assert np.array_equal(nifti.read_image(path).array, reference.astype(np.float32))
    stored = nifti.read_stored(path)
    assert np.array_equal(stored.array, array)
    values = nifti.to_float32(stored.array, stored.slope, stored.intercept)
    assert np.array_equal(values, reference.astype(np.float32))


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_an_unusable_slope_leaves_the_stored_values_as_the_standard_says(tmp_path, slope):
    path = save(tmp_path / "image.nii", ramp(), scl_slope=slope, scl_inter=5.0)
    assert np.array_equal(nifti.read_image(path).array, ramp())


def test_header_only_reading_agrees_with_reading_all(tmp_path):
    path = save(tmp_path / "image.nii.gz", ramp())
    header, image = nifti.read_header(path), nifti.read_image(path)
    assert header.shape == image.array.shape == (5, 4, 3)
    assert np.array_equal(header.affine, image.affine)
    assert header.spacing == pytest.approx(nib.affines.voxel_sizes(OBLIQUE))
    assert header.axcodes == nib.aff2axcodes(OBLIQUE) == ("L", "A", "S")


@pytest.mark.parametrize(
    ("stored", "read"), [((5, 4), (5, 4, 1)), ((5, 4, 3, 1), (5, 4, 3)), ((5, 4, 3, 1, 1), (5, 4, 3))]
)
def test_axes_of_length_one_are_dropped_or_added(tmp_path, stored, read):
    path = save(tmp_path / "image.nii", ramp(stored))
    assert nifti.read_image(path).array.shape == nifti.read_header(path).shape == read


def test_a_compressed_file_of_several_members_is_read_whole(tmp_path):
    content = save(tmp_path / "a.nii", ramp()).read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(content[:100]) + gzip.compress(content[100:]))
    assert np.array_equal(nifti.read_image(tmp_path / "b.nii.gz").array, ramp())


def test_header_extensions_do_not_shift_the_voxels(tmp_path):
    image = nib.Nifti1Image(ramp(), OBLIQUE)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 1000))
    nib.save(image, tmp_path / "image.nii.gz")
    read = nifti.read_image(tmp_path / "image.nii.gz")
    assert np.array_equal(read.array, ramp())
    nifti.write_image(tmp_path / "copy.nii.gz", read.array, read.affine, read.header)
    assert nib.load(tmp_path / "copy.nii.gz").header.extensions[0].get_content().startswith(b"xxx")


# ---------------------------------------------------------------- geometry


def test_without_qform_and_sform_the_affine_is_nibabels_from_the_voxel_size(tmp_path):
    path = save(tmp_path / "image.nii", ramp(), np.diag([2.0, 3, 4, 1]), qform_code=0, sform_code=0)
    image = nifti.read_image(path)
    assert np.array_equal(image.affine, nib.load(path).affine)
    assert image.affine.tolist() == [[-2, 0, 0, 4], [0, 3, 0, -4.5], [0, 0, 4, -4], [0, 0, 0, 1]]


def test_a_zero_voxel_size_is_harmless_where_an_sform_tells_the_geometry(tmp_path):
    path = save(tmp_path / "image.nii", ramp(), OBLIQUE, pixdim=[1, 0, 0, 0, 0, 0, 0, 0])
    assert np.allclose(nifti.read_image(path).affine, OBLIQUE, atol=1e-5)


def test_a_negative_voxel_size_is_mended_as_nibabel_does_but_without_printing(tmp_path, capfd):
    path = save(
        tmp_path / "image.nii", ramp(), np.diag([2.0, 3, 4, 1]), sform_code=0, qform_code=0,
        pixdim=[1, -2, 3, 4, 0, 0, 0, 0],
    )  # fmt: skip
    assert nifti.read_header(path).spacing == (2, 3, 4)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("axcodes", AXCODES, ids="".join)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=8, deadline=None)
def test_reorienting_there_and_back_is_the_identity_and_keeps_every_voxel_in_place(axcodes, seed):
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(np.eye(3) + rng.uniform(-0.3, 0.3, (3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = (rotation * rng.uniform(0.5, 4, 3))[:, rng.permutation(3)]
    affine[:3, 3] = rng.uniform(-200, 200, 3)
    array = rng.integers(0, 1000, (3, 4, 5, 2))
    turned, new_affine = nifti.reorient(array, affine, axcodes)
    assert nifti.axis_codes(new_affine) == axcodes
    back, old_affine = nifti.reorient(turned, new_affine, nifti.axis_codes(affine))
    assert np.array_equal(back, array)
    assert np.allclose(old_affine, affine, rtol=0, atol=1e-9)
    voxel = np.array([rng.integers(n) for n in array.shape[:3]])
    place = affine @ [*voxel, 1]
    new_voxel = np.linalg.solve(new_affine, place)[:3]
    assert np.allclose(new_voxel, np.rint(new_voxel), atol=1e-6)
    assert np.array_equal(turned[tuple(np.rint(new_voxel).astype(int))], array[tuple(voxel)])


def test_all_48_orientations_are_tested():
    assert len(set(AXCODES)) == 48


@pytest.mark.parametrize("axcodes", AXCODES, ids="".join)
def test_reorienting_agrees_with_nibabel(axcodes):
    start = nib.orientations.io_orientation(OBLIQUE)
    transform = nib.orientations.ornt_transform(start, nib.orientations.axcodes2ornt(axcodes))
    array, affine = nifti.reorient(ramp(), OBLIQUE, axcodes)
    assert np.array_equal(array, nib.orientations.apply_orientation(ramp(), transform))
    expected = OBLIQUE @ nib.orientations.inv_ornt_aff(transform, ramp().shape)
    assert np.allclose(affine, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("axcodes", [("R", "A"), ("R", "L", "S"), ("R", "A", "X"), "RAA"])
def test_axis_codes_that_are_no_directions_are_refused(axcodes):
    with pytest.raises(ConfigError, match=r"L/R, P/A, I/S"):
        nifti.reorient(ramp(), OBLIQUE, axcodes)


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_labels_of_any_type_are_read_as_integers(tmp_path, dtype):
    array = np.array([[[0, 1], [2, 117]]], dtype)
    labels = nifti.read_label_map(save(tmp_path / "labels.nii", array)).array
    assert labels.dtype == (np.dtype(dtype) if dtype in ("u1", "i2") else np.uint8)
    assert np.array_equal(labels, array)


def test_labels_beyond_float32_keep_their_last_digit(tmp_path):
    array = np.full((2, 2, 2), 2**24 + 1, np.int32)
    assert nifti.read_label_map(save(tmp_path / "labels.nii", array)).array.max() == 2**24 + 1


def test_labels_under_a_slope_that_float32_rounds_are_still_integers(tmp_path):
    array = np.array([[[0, 255, 510]]], np.int16)
    path = save(tmp_path / "labels.nii", array, scl_slope=1 / 255, scl_inter=0)
    assert nifti.read_label_map(path).array.ravel().tolist() == [0, 1, 2]


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf])
def test_labels_that_are_not_integers_are_refused_with_their_number(tmp_path, value):
    array = np.zeros((3, 3, 3), np.float32)
    array[0, 0, :2] = value
    with pytest.raises(DataError, match=r"labels\.nii: is no label map, 2 of its 27 voxels"):
        nifti.read_label_map(save(tmp_path / "labels.nii", array))


# ---------------------------------------------------------------- refusals


def _truncated_gz(path):
    array = np.random.default_rng(0).integers(0, 9999, (30, 30, 30)).astype(np.int16)
    content = save(path, array).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _damaged_gz(path):
    array = np.random.default_rng(0).integers(0, 9999, (30, 30, 30)).astype(np.int16)
    content = bytearray(save(path, array).read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def _wrong_checksum(path):
    content = bytearray(save(path, ramp()).read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(content)


def _truncated(path):
    content = save(path, ramp((20, 20, 20))).read_bytes()
    path.write_bytes(content[:-100])


def _truncated_header(path):
    path.write_bytes(save(path, ramp()).read_bytes()[:200])


def _wrong_magic(path):
    save(path, ramp(), magic=b"abc")


def _not_compressed(path):
    path.write_bytes(save(path.with_suffix(""), ramp()).read_bytes())


def _compressed(path):
    path.write_bytes(gzip.compress(save(path, ramp()).read_bytes()))


def _colours(path):
    pixels = np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(pixels, np.eye(4)), path)


def _text(path):
    path.write_text("hello\n")


def _nothing(path):
    """Leaves the file missing."""


def _with(array=None, **fields):
    return lambda path: save(path, ramp() if array is None else array, **fields)


NAN = float("nan")
BROKEN = {
    "truncated gz": ("a.nii.gz", _truncated_gz, "truncated or damaged"),
    "damaged gz": ("a.nii.gz", _damaged_gz, "damaged"),
    "wrong checksum in gz": ("a.nii.gz", _wrong_checksum, "damaged"),
    "truncated": (
        "a.nii",
        _truncated,
        "is truncated, its header announces 8000 voxels of 2 bytes but only 7950 follow",
    ),
    "truncated header": ("a.nii", _truncated_header, "truncated within its header"),
    "wrong magic": ("a.nii", _wrong_magic, "its mark is b'abc"),
    "empty": ("a.nii", Path.touch, "is empty (0 bytes)"),
    "empty gz": ("a.nii.gz", Path.touch, "is empty (0 bytes)"),
    "empty mha": ("a.mha", Path.touch, "is empty (0 bytes)"),
    "empty photo": ("a.png", Path.touch, "pillow cannot read it"),
    "text as gz": ("a.nii.gz", _text, "is not compressed (it starts with b'he')"),
    "text as nii": ("a.nii", _text, "is no NIfTI file (it starts with b'hell')"),
    "text as mha": ("a.mha", _text, "SimpleITK cannot read it"),
    "text as photo": ("a.jpg", _text, "pillow cannot read it"),
    "compressed under the name .nii": ("a.nii", _compressed, "name it a.nii.gz"),
    "plain under the name .nii.gz": ("a.nii.gz", _not_compressed, "name it .nii if it is NIfTI"),
    "missing": ("a.nii.gz", _nothing, "does not exist"),
    "missing mha": ("a.mha", _nothing, "does not exist"),
    "missing photo": ("a.png", _nothing, "does not exist"),
    "a folder": ("a.nii.gz", Path.mkdir, "is a folder without a DICOM series"),
    "header without voxels": (
        "a.hdr",
        lambda path: _lone_header(path),
        "the other file of its .hdr/.img pair",
    ),
    "NaN affine": ("a.nii", _with(srow_x=[NAN] * 4), "is not 4 x 4 finite numbers"),
    "singular affine": ("a.nii", _with(srow_x=[0] * 4), "an axis without length or two of one"),
    "nearly singular affine": (
        "a.nii",
        _with(sform_code=1, srow_x=[1, 0, 1, 0], srow_y=[0, 1, 0, 0], srow_z=[0, 0, 1e-4, 0]),
        "three nearly in one plane",
    ),
    "zero voxel size": ("a.nii", _with(sform_code=0, pixdim=[1, 1, 0, 1, 0, 0, 0, 0]), "is 1 x 0 x 1 mm"),
    "no voxels": ("a.nii", _with(dim=[3, 5, 0, 3, 1, 1, 1, 1]), "has no voxels (shape 5 x 0 x 3)"),
    "announces petabytes": (
        "a.nii",
        _with(dim=[3, 32767, 32767, 32767, 1, 1, 1, 1]),
        "memory of this machine",
    ),
    "offset beyond the end": ("a.nii", _with(vox_offset=1e15), "convert it again"),
    "offset NaN": ("a.nii.gz", _with(vox_offset=NAN), "is no readable NIfTI image"),
    "4-D": ("a.nii", _with(ramp((2, 3, 4, 5))), "is 4-D (2 x 3 x 4 x 5)"),
    "complex": ("a.nii", _with(ramp(dtype=np.complex64)), "its voxels are complex64"),
    "colours": ("a.nii", _colours, "its voxels are RGB"),
    "unknown data type": ("a.nii", _with(datatype=4444), "is no readable NIfTI image"),
    "infinite intercept": ("a.nii", _with(scl_slope=1, scl_inter=np.inf), "but invalid intercept"),
    "unknown ending": ("a.mat", _text, ".mat is none of the known image endings"),
}


def _lone_header(path):
    nib.save(nib.Nifti1Pair(ramp(), OBLIQUE), path)
    path.with_suffix(".img").unlink()


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_in_one_line_that_names_it(tmp_path, case):
    name, breaks, message = BROKEN[case]
    path = tmp_path / name
    breaks(path)
    with pytest.raises(DataError) as caught:
        nifti.read_image(path)
    line = str(caught.value)
    assert line.startswith(str(path))
    assert message in line
    assert "\n" not in line
    assert ";" in line, "states no remedy"


def test_a_file_without_permission_is_refused():
    code = (
        "import os, sys\n"
        "from sfgkeras.data.nifti import read_image\n"
        "if os.geteuid() == 0: os.setresuid(65534, 65534, 65534)\n"  # root may read everything
        "try: read_image(sys.argv[1])\n"
        "except ValueError as error: sys.exit(str(error))\n"
    )
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        Path(folder).chmod(0o755)
        path = save(Path(folder) / "image.nii", ramp())
        path.chmod(0)
        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{path}: may not be read (Permission denied); give this user permission" in done.stderr


def test_an_unknown_loader_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="unknown loader 'nibabbel', did you mean 'nibabel'"):
        nifti.read_image(tmp_path / "image.nii", loader="nibabbel")


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 1), (5, 4, 3, 6)])
def test_what_is_written_is_read_back_by_nibabel(tmp_path, ending, shape):
    array = np.random.default_rng(0).normal(size=shape)
    nifti.write_image(tmp_path / f"image{ending}", array, OBLIQUE)
    read = nib.load(tmp_path / f"image{ending}")
    assert read.shape == shape
    assert read.get_data_dtype() == np.float32
    assert np.array_equal(read.get_fdata(), array.astype(np.float32))
    assert np.allclose(read.affine, OBLIQUE, rtol=0, atol=1e-5)
    assert read.header.get_xyzt_units()[0] == "mm"


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(0, 1, "u1"), (0, 255, "u1"), (0, 256, "i2"), (-1, 0, "i2"), (0, 40000, "u2"), (-1, 40000, "i4"),
     (0, 2**32 - 1, "u4"), (0, 2**40, "i8")],
)  # fmt: skip
def test_integers_take_the_smallest_type_that_holds_them(tmp_path, low, high, dtype):
    nifti.write_image(tmp_path / "image.nii.gz", np.array([[[low, high]]], np.int64), np.eye(4))
    read = nib.load(tmp_path / "image.nii.gz")
    assert read.get_data_dtype() == np.dtype(dtype)
    assert np.asarray(read.dataobj).ravel().tolist() == [low, high]


def test_a_mask_of_booleans_is_written_as_bytes(tmp_path):
    nifti.write_image(tmp_path / "mask.nii", np.array([[[True, False]]]), np.eye(4))
    assert np.asarray(nib.load(tmp_path / "mask.nii").dataobj).ravel().tolist() == [1, 0]


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 2), (1, 4), (3, 3), (0, 0)])
def test_the_original_header_passes_on_version_codes_units_intent_and_exact_geometry(tmp_path, kind, qform, sform):
    rigid = np.diag([2.0, 3.0, 4.0, 1.0])
    rigid[:3, 3] = [0.1, -70.3, 33.3]
    image = kind(ramp(), None if qform == sform == 0 else rigid)
    image.header.set_zooms((2, 3, 4))
    image.set_qform(rigid, qform)
    image.set_sform(rigid, sform)
    image.header.set_xyzt_units("mm", "sec")
    image.header.set_intent("z score", name="t2")
    image.header["descrip"] = b"scanner"
    image.header["cal_max"] = 77
    nib.save(image, tmp_path / "original.nii.gz")
    original = nifti.read_image(tmp_path / "original.nii.gz")
    nifti.write_image(tmp_path / "new.nii.gz", original.array + 0.5, original.affine, original.header)
    new = nib.load(tmp_path / "new.nii.gz")
    assert isinstance(new, kind)
    assert (int(new.header["qform_code"]), int(new.header["sform_code"])) == (qform, sform)
    assert np.array_equal(new.affine, original.affine)
    assert new.header.get_xyzt_units() == ("mm", "sec")
    assert new.header.get_intent()[0] == "z score"
    assert new.header["descrip"].tobytes().startswith(b"scanner")
    assert new.header["cal_max"] == 0, "the display range of the original is not that of the new values"
    assert np.array_equal(new.get_fdata(), ramp() + 0.5)


@pytest.mark.parametrize(("qform", "sform"), [(1, 0), (0, 2), (1, 4), (0, 0)])
def test_another_grid_than_the_originals_is_written_exactly_whatever_codes_it_had(tmp_path, qform, sform):
    image = nib.Nifti1Image(ramp(), np.eye(4))
    image.set_qform(np.eye(4), qform)
    image.set_sform(np.eye(4), sform)
    nib.save(image, tmp_path / "original.nii")
    original = nifti.read_header(tmp_path / "original.nii")
    nifti.write_image(tmp_path / "new.nii", np.zeros((7, 6, 5)), OBLIQUE, original)  # sheared: no qform holds it
    new = nib.load(tmp_path / "new.nii")
    assert np.allclose(new.affine, OBLIQUE, rtol=0, atol=1e-5)
    assert np.allclose(new.header.get_zooms(), nib.affines.voxel_sizes(OBLIQUE), atol=1e-5)
    assert int(new.header["sform_code"]) == (sform or qform or 2)


def test_the_same_content_gives_the_same_bytes(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz"):
        nifti.write_image(tmp_path / name, ramp(), OBLIQUE)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("name", "array", "affine", "message"),
    [
        ("image.mha", ramp(), np.eye(4), "cannot be written as .mha; use .nii"),
        ("image", ramp(), np.eye(4), "a file without ending; use .nii"),
        ("image.nii", ramp((5, 4)), np.eye(4), r"shape (5, 4) cannot be written"),
        ("image.nii", ramp(dtype=np.complex64), np.eye(4), "an array of complex64"),
        ("image.nii", ramp(), np.full((4, 4), NAN), "not 4 x 4 finite numbers"),
        ("image.nii", np.zeros((0, 4, 4)), np.eye(4), "cannot be written"),
        ("nowhere/image.nii", ramp(), np.eye(4), "nowhere is no folder; create it first"),
    ],
)
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path, name, array, affine, message):
    with pytest.raises(DataError) as caught:
        nifti.write_image(tmp_path / name, array, affine)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert message in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_a_full_disk_names_the_file_keeps_the_old_one_and_leaves_no_part(tmp_path, name):
    nifti.write_image(tmp_path / name, ramp(), np.eye(4))
    before = (tmp_path / name).read_bytes()
    code = (
        "import resource, sys\n"
        "import numpy as np\n"
        "from sfgkeras.data.nifti import write_image\n"
        "noise = np.random.default_rng(0).normal(size=(64, 64, 64))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))\n"
        "try: write_image(sys.argv[1], noise, np.eye(4))\n"
        "except ValueError as error: sys.exit(str(error))\n"
    )
    arguments = [sys.executable, "-c", code, tmp_path / name]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(f"{tmp_path / name}: cannot be written, File too large: 1048576 bytes")
    assert "free some space or choose another folder" in done.stderr
    assert done.stderr.count("\n") == 1
    assert [entry.name for entry in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == before


def test_a_folder_of_the_same_name_is_not_replaced(tmp_path):
    (tmp_path / "image.nii").mkdir()
    with pytest.raises(DataError, match=r"image\.nii: cannot be written, a folder has that name"):
        nifti.write_image(tmp_path / "image.nii", ramp(), np.eye(4))
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.nii"]


def test_a_failure_while_writing_keeps_the_old_file(tmp_path, monkeypatch):
    nifti.write_image(tmp_path / "image.nii", ramp(), np.eye(4))
    before = (tmp_path / "image.nii").read_bytes()

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        nifti.write_image(tmp_path / "image.nii", ramp() + 1, np.eye(4))
    assert [entry.name for entry in tmp_path.iterdir()] == ["image.nii"]
    assert (tmp_path / "image.nii").read_bytes() == before


# ---------------------------------------------------------------- SimpleITK


@pytest.mark.parametrize("ending", [".mha", ".mhd", ".nrrd", ".nii.gz"])
def test_simpleitk_images_agree_with_their_nifti_twin(tmp_path, ending):
    import SimpleITK as sitk

    rigid = OBLIQUE.copy()
    rigid[:3, :3] = np.linalg.qr(OBLIQUE[:3, :3])[0] * [0.9, 1.2, 2.5]
    twin = save(tmp_path / "twin.nii", ramp(), rigid)
    sitk.WriteImage(sitk.ReadImage(str(twin)), str(tmp_path / f"image{ending}"))
    image = nifti.read_image(tmp_path / f"image{ending}", loader="simpleitk")
    header = nifti.read_header(tmp_path / f"image{ending}", loader="simpleitk")
    assert np.array_equal(image.array, ramp())
    assert image.array.dtype == np.float32
    assert np.allclose(image.affine, rigid, rtol=0, atol=1e-4)
    assert np.array_equal(header.affine, image.affine)
    assert (header.shape, header.dtype) == ((5, 4, 3), np.int16)
    assert nifti.read_label_map(tmp_path / f"image{ending}", loader="simpleitk").array.dtype == np.int16


def test_a_truncated_nrrd_is_refused_in_one_line(tmp_path):
    import SimpleITK as sitk

    path = tmp_path / "image.nrrd"
    sitk.WriteImage(sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(20, 20, 20))), str(path))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataError) as caught:
        nifti.read_image(path)
    assert str(caught.value).startswith(f"{path}: SimpleITK cannot read it")
    assert "\n" not in str(caught.value)


def test_vectors_in_each_voxel_are_refused(tmp_path):
    import SimpleITK as sitk

    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 3, 3, 2)), isVector=True), str(tmp_path / "a.mha"))
    with pytest.raises(DataError, match=r"a\.mha: has 2 values in each voxel"):
        nifti.read_header(tmp_path / "a.mha")


def write_dicom(folder: Path, positions, slope=2.0, intercept=-1000.0, series="1.2.3.4") -> np.ndarray:
    """Writes an axial series whose values are stored as `(value - intercept) / slope`; returns the values."""
    import SimpleITK as sitk

    folder.mkdir(exist_ok=True)
    voxels = np.random.default_rng(0).integers(0, 500, (6, 5, len(positions))).astype(np.int16) * 2
    for index, position in enumerate(positions):
        image = sitk.GetImageFromArray(voxels[:, :, index].T[None])
        image.SetSpacing((0.5, 0.75, 1.0))
        tags = {
            "0008|0016": "1.2.840.10008.5.1.4.1.1.2", "0008|0018": f"{series}.{index + 1}", "0008|0060": "CT",
            "0020|000d": "1.2.3", "0020|000e": series, "0020|0013": str(index),
            "0020|0032": "\\".join(map(str, position)), "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|1052": str(intercept), "0028|1053": str(slope), "0018|0050": "1",
        }  # fmt: skip
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{series}-{index}.dcm"))
        writer.Execute(image)
    tags = sitk.ReadImage(str(folder / f"{series}-0.dcm"))
    assert (float(tags.GetMetaData("0028|1053")), float(tags.GetMetaData("0028|1052"))) == (slope, intercept)
    return voxels


def test_a_dicom_series_keeps_rescaled_values_and_geometry(tmp_path):
    values = write_dicom(tmp_path / "ct", [(-10, 20, z) for z in (30, 27, 24, 33)])
    image, header = nifti.read_image(tmp_path / "ct"), nifti.read_header(tmp_path / "ct")
    assert image.array.shape == header.shape == (6, 5, 4)
    assert np.array_equal(image.array, values[:, :, [2, 1, 0, 3]])
    expected = [[-0.5, 0, 0, 10], [0, -0.75, 0, -20], [0, 0, 3, 24], [0, 0, 0, 1]]
    assert np.allclose(image.affine, expected)
    assert np.allclose(header.affine, expected)


def test_a_tilted_gantry_keeps_its_shear(tmp_path):
    write_dicom(tmp_path / "ct", [(0, 2 * index, 3 * index) for index in range(3)])
    assert np.allclose(nifti.read_image(tmp_path / "ct").affine[:3, 2], [0, -2, 3])


def test_a_series_with_a_missing_slice_is_refused(tmp_path):
    write_dicom(tmp_path / "ct", [(0, 0, z) for z in (0, 3, 6, 12)])
    with pytest.raises(DataError, match=r"ct: its 4 slices are unevenly spaced \(6.000 mm from slice 3 to 4"):
        nifti.read_image(tmp_path / "ct")


def test_two_series_in_one_folder_are_refused(tmp_path):
    write_dicom(tmp_path / "ct", [(0, 0, 0), (0, 0, 1)], series="1.2.3.4")
    write_dicom(tmp_path / "ct", [(0, 0, 0), (0, 0, 1)], series="1.2.3.5")
    with pytest.raises(DataError, match=r"ct: holds 2 DICOM series"):
        nifti.read_image(tmp_path / "ct")


# ---------------------------------------------------------------- photos


def save_photo(path: Path, pixels: np.ndarray, **options) -> Path:
    from PIL import Image

    Image.fromarray(pixels).save(path, **options)
    return path


def test_a_photo_is_rows_columns_one_and_three_colours(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9, 3)).astype(np.uint8)
    image = nifti.read_image(save_photo(tmp_path / "photo.png", pixels))
    assert image.array.shape == nifti.read_header(tmp_path / "photo.png").shape == (7, 9, 1, 3)
    assert image.array.dtype == np.float32
    assert np.array_equal(image.array[:, :, 0], pixels)
    assert np.array_equal(image.affine, np.eye(4))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_grey_photo_gets_three_equal_channels_with_its_own_values(tmp_path, dtype):
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (7, 9)).astype(dtype)
    image = nifti.read_image(save_photo(tmp_path / "grey.png", pixels))
    assert np.array_equal(image.array, np.repeat(pixels[:, :, None, None], 3, axis=3))
    assert image.header.dtype == dtype == nifti.read_header(tmp_path / "grey.png").dtype


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_turns_a_photo_upright(tmp_path, orientation):
    from PIL import Image

    pixels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[0x0112] = orientation
    save_photo(tmp_path / "photo.png", pixels, exif=exif)
    upright = {
        1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1], 5: pixels.T,
        6: np.rot90(pixels, -1), 7: pixels[::-1, ::-1].T, 8: np.rot90(pixels),
    }[orientation]  # fmt: skip
    image = nifti.read_image(tmp_path / "photo.png")
    assert np.array_equal(image.array[:, :, 0, 0], upright)
    assert nifti.read_header(tmp_path / "photo.png").shape == image.array.shape


def test_the_labels_of_a_photo_are_its_grey_values_or_palette_indices(tmp_path):
    from PIL import Image

    labels = np.array([[0, 1, 2], [3, 4, 1]], np.uint8)
    palette = Image.fromarray(labels, mode="P")
    palette.putpalette(list(np.random.default_rng(0).integers(0, 256, 768)))
    palette.save(tmp_path / "palette.png")
    save_photo(tmp_path / "grey.png", labels)
    for name in ("palette.png", "grey.png"):
        assert np.array_equal(nifti.read_label_map(tmp_path / name).array, labels[:, :, None])
    save_photo(tmp_path / "colour.png", np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(DataError, match=r"colour\.png: is a colour photo \(mode RGB\), not a label map"):
        nifti.read_label_map(tmp_path / "colour.png")


def test_a_truncated_photo_and_a_film_are_refused(tmp_path):
    from PIL import Image

    path = save_photo(tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match=r"a\.jpg: pillow cannot read it \(image file is truncated"):
        nifti.read_image(path)
    frames = [Image.fromarray(np.full((4, 4), value, np.uint8)) for value in (0, 200)]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match=r"film\.gif: holds 2 frames"):
        nifti.read_image(tmp_path / "film.gif")


# ---------------------------------------------------------------- real images


def real_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.nii*") if path.is_file())


def manifest(folder: Path) -> dict[str, dict[str, str]]:
    with open(folder / "manifest.csv", newline="") as stream:
        return {row["file"]: row for row in csv.DictReader(stream)}


@pytest.mark.real_data
def test_every_real_nifti_is_read_as_nibabel_reads_it_or_refused_for_its_fourth_axis(real_data):
    files = real_files(real_data)
    assert len(files) > 50
    for path in files:
        reference = nib.load(path)
        if len(reference.shape) > 3:
            with pytest.raises(DataError, match="is 4-D"):
                nifti.read_image(path)
            continue
        image = nifti.read_image(path)
        values = reference.get_fdata().astype(np.float32).reshape(image.array.shape)
        assert np.array_equal(image.array, values, equal_nan=True), path
        assert np.array_equal(image.affine, reference.affine), path
        assert image.header.dtype == reference.get_data_dtype(), path


@pytest.mark.real_data
def test_headers_and_ranges_of_real_images_are_those_of_the_manifest(real_data):
    checked = 0
    for name, row in manifest(real_data).items():
        if not name.endswith((".nii", ".nii.gz")) or row["shape"].count("x") != 2:
            continue
        image = nifti.read_image(real_data / name)
        assert "x".join(map(str, image.array.shape)) == row["shape"]
        assert "".join(image.header.axcodes) == row["orientation"]
        assert str(image.header.dtype) == row["dtype"]
        assert np.allclose(image.header.spacing, [float(size) for size in row["zooms"].split("x")], rtol=1e-3)
        percentiles = [float(value) for value in row["p0_p1_p50_p99_p100"].split()]
        if np.isfinite(image.array).all():
            assert np.allclose(np.percentile(image.array, [0, 1, 50, 99, 100]), percentiles, rtol=1e-3, atol=1e-3)
        checked += 1
    assert checked > 50


@pytest.mark.real_data
def test_a_real_image_written_and_read_again_keeps_voxels_and_affine(real_data, tmp_path):
    names = [
        "mr_pelvis/ProstateX-0000_adc.nii.gz",
        "mr_pelvis/ProstateX-0000_lesion_src.nii.gz",
        "mr_pelvis/nnunet_ProstateX-0000_label_BADGEOM.nii.gz",
        "mr_cord/mtr.nii.gz",
        "mr_cord/t2.nii.gz",
        "ct_head/scct_cormack.nii",
        "nifti_small/photo_CHAR_2D.nii.gz",
        "spine/sub-mri_label-6_T2w.nii.gz",
    ]
    for name in names:
        image = nifti.read_image(real_data / name)
        nifti.write_image(tmp_path / "copy.nii.gz", image.array, image.affine, image.header)
        copy = nifti.read_image(tmp_path / "copy.nii.gz")
        assert np.array_equal(copy.array, image.array, equal_nan=True), name
        assert np.array_equal(copy.affine, image.affine), name
        codes = [
            (int(header.nifti["qform_code"]), int(header.nifti["sform_code"])) for header in (image.header, copy.header)
        ]
        assert codes[0] == codes[1], name


@pytest.mark.real_data
def test_the_real_dicom_series_is_the_nifti_made_from_it(real_data):
    series = nifti.read_image(real_data / "dicom_mr_pelvis" / "ProstateX-0000_t2tra")
    twin = nifti.read_image(real_data / "mr_pelvis" / "ProstateX-0000_t2tra.nii.gz")
    array, affine = nifti.reorient(series.array, series.affine, twin.header.axcodes)
    assert np.array_equal(array, twin.array)
    assert np.allclose(affine, twin.affine, rtol=0, atol=1e-3)


@pytest.mark.real_data
def test_real_photos_and_their_label_maps_have_one_shape(real_data):
    photos = sorted((real_data / "pets" / "images").glob("*.jpg"))[:12]
    assert photos
    for photo in photos:
        image = nifti.read_image(photo)
        labels = nifti.read_label_map(real_data / "pets" / "annotations" / "trimaps" / f"{photo.stem}.png")
        assert image.array.shape == (*labels.array.shape, 3)
        assert set(np.unique(labels.array)) <= {1, 2, 3}
    assert not nifti.is_image(real_data / "pets" / "images" / "Abyssinian_100.mat")
