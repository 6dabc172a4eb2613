"""Tries of headers, files and voxels: what is done to an image of a working set-up, and how `check` should end."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK
from bad_inputs import Place


def _image(place: Place, modality: str = "mr", subject: int = 0) -> nib.Nifti1Image:
    image = nib.load(place.path(subject, modality))
    return nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)


def _save(
    change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]], modality: str = "mr"
) -> Callable[[Place], None]:
    """Returns what writes an image anew with other voxels and another affine."""

    def write(place: Place) -> None:
        image = _image(place, modality)
        voxels, affine = change(np.asarray(image.dataobj), image.affine.copy())
        nib.save(nib.Nifti1Image(voxels, affine), place.path(0, modality))

    return write


def _affine(change: Callable[[np.ndarray], object], modality: str = "mr") -> Callable[[Place], None]:
    """Returns what changes an affine; only its rows are written, as nibabel refuses many."""

    def write(place: Place) -> None:
        affine = np.array(nib.load(place.path(0, modality)).affine)
        change(affine)
        rows = {f"srow_{axis}": affine[n] for n, axis in enumerate("xyz")}
        _header(modality, **rows, sform_code=2, qform_code=0)(place)

    return write


def _header(modality: str = "mr", **fields: object) -> Callable[[Place], None]:
    """Returns what sets fields of the header, whatever nibabel thinks of them."""

    def write(place: Place) -> None:
        path = place.path(0, modality)
        raw = bytearray(gzip.decompress(path.read_bytes()))
        header = nib.Nifti1Header(bytes(raw[:348]), check=False)
        for name, value in fields.items():
            header[name] = value
        raw[:348] = header.binaryblock
        path.write_bytes(gzip.compress(bytes(raw)))

    return write


def _bytes(change: Callable[[bytes], bytes], modality: str = "mr") -> Callable[[Place], None]:
    def write(place: Place) -> None:
        path = place.path(0, modality)
        path.write_bytes(change(path.read_bytes()))

    return write


def _flip(raw: bytes, place: int) -> bytes:
    return raw[:place] + bytes([raw[place] ^ 255]) + raw[place + 1 :]


def _instead(make: Callable[[Path], object], modality: str = "mr") -> Callable[[Place], None]:
    def write(place: Place) -> None:
        path = place.path(0, modality)
        path.unlink()
        make(path)

    return write


def _big_endian(place: Place) -> None:
    image = _image(place)
    header = image.header.as_byteswapped(">")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine, header), place.path(0, "mr"))


def _nifti2(place: Place) -> None:
    image = _image(place)
    nib.save(nib.Nifti2Image(np.asarray(image.dataobj), image.affine), place.path(0, "mr"))


def _uncompressed(place: Place) -> None:
    path = place.path(0, "mr")
    path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    path.unlink()


def _metaimage(place: Place) -> None:
    path = place.path(0, "mr")
    SimpleITK.WriteImage(SimpleITK.ReadImage(str(path)), str(path.parent / "p0_mr.mha"))
    path.unlink()


def _other_grids(place: Place) -> None:
    image = _image(place)
    affine = image.affine.copy()
    affine[0, 3] += 0.02 * 6
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), affine), place.path(0, "mr"))


def _qform(place: Place) -> None:
    image = _image(place)
    other = image.affine.copy()
    other[:3, 3] += 40
    image.set_qform(other, 1)
    image.set_sform(image.affine, 1)
    nib.save(image, place.path(0, "mr"))


HEADERS = (
    ("an affine of zeros", _affine(lambda a: a[:3].fill(0)), "refused", r"p0_mr"),
    ("two axes that agree", _affine(lambda a: a.__setitem__((slice(0, 3), 1), a[:3, 0])), "refused", r"p0_mr"),
    ("a NaN in the affine", _affine(lambda a: a.__setitem__((0, 0), np.nan)), "refused", r"p0_mr"),
    ("an infinite origin", _affine(lambda a: a.__setitem__((0, 3), np.inf)), "refused", r"p0_mr"),
    (
        "voxels of 0.001 mm",
        _affine(lambda a: a.__setitem__((slice(0, 3), slice(0, 3)), a[:3, :3] / 5000)),
        "refused",
        "p0",
    ),
    (
        "voxels of 900 mm",
        _affine(lambda a: a.__setitem__((slice(0, 3), slice(0, 3)), a[:3, :3] * 150)),
        "refused",
        "p0",
    ),
    ("another patient's place", _affine(lambda a: a.__setitem__((0, 3), a[0, 3] + 500)), "refused", "p0"),
    ("two per cent of a voxel aside", _other_grids, "works", ""),
    ("sform and qform differ", _qform, "warned", "p0_mr"),
    ("micrometres", _header(xyzt_units=3), "refused|warned", "p0_mr"),
    ("an unknown data type", _header(datatype=77), "refused", "p0_mr"),
    ("complex numbers", _save(lambda v, a: (v.astype(np.complex64), a)), "refused", "p0_mr"),
    ("colours", _instead(lambda p: _rgb(p)), "refused", "p0_mr"),
    ("a length of zero", _header(dim=[3, 0, 5, 5, 1, 1, 1, 1]), "refused", "p0_mr"),
    ("a negative length", _header(dim=[3, -5, 5, 5, 1, 1, 1, 1]), "refused", "p0_mr"),
    ("lengths beyond the voxels", _header(dim=[3, 32000, 32000, 3000, 1, 1, 1, 1]), "refused", "p0_mr"),
    ("eight dimensions said", _header(dim=[9, 5, 5, 5, 1, 1, 1, 1]), "refused", "p0_mr"),
    ("several volumes", _save(lambda v, a: (np.stack([v] * 3, axis=-1), a)), "refused", "p0_mr"),
    ("a fourth axis of one", _save(lambda v, a: (v[..., None], a)), "works", ""),
    ("one slice", _save(lambda v, a: (v[:, :, :1], a)), "works", ""),
    ("cut in the middle", _bytes(lambda raw: raw[: len(raw) // 2]), "refused", "p0_mr"),
    ("cut at the last byte", _bytes(lambda raw: raw[:-1]), "refused", "p0_mr"),
    ("a changed byte", _bytes(lambda raw: _flip(raw, len(raw) // 2)), "refused", "p0_mr"),
    ("a wrong checksum", _bytes(lambda raw: _flip(raw, len(raw) - 8)), "refused", "p0_mr"),
    ("bytes behind the end", _bytes(lambda raw: raw + b"more"), "refused|warned|works", ""),
    ("an empty file", _bytes(lambda raw: b""), "refused", "p0_mr"),
    ("a text", _bytes(lambda raw: b"<html>404 not found</html>"), "refused", "p0_mr"),
    ("not compressed, named .gz", _bytes(gzip.decompress), "refused|works|warned", ""),
    ("compressed twice", _bytes(gzip.compress), "refused", "p0_mr"),
    ("a folder of that name", _instead(lambda p: p.mkdir()), "refused|warned", "p0"),
    ("a FIFO", _instead(os.mkfifo), "refused|warned", "p0"),
    ("a link to nothing", _instead(lambda p: p.symlink_to("gone")), "refused|warned", "p0"),
    ("a link to itself", _instead(lambda p: p.symlink_to(p.name)), "refused|warned", "p0"),
    ("big-endian", _big_endian, "works", ""),
    ("NIfTI-2", _nifti2, "works", ""),
    ("not compressed", _uncompressed, "works", ""),
    ("MetaImage", _metaimage, "works", ""),
    ("slope of NaN", _header(scl_slope=np.nan), "works|refused", ""),
    ("infinite slope", _header(scl_slope=np.inf), "works|refused", ""),
    ("infinite intercept", _header(scl_slope=2, scl_inter=np.inf), "refused", "p0_mr"),
    ("a wrong magic number", _header(magic=b"xx1"), "refused", "p0_mr"),
)


def _rgb(path: Path) -> None:
    kind = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(np.zeros((20, 20, 20), kind), np.diag([6, 6, 6, 1.0])), path)


# Voxels and labels.


def _voxels(change: Callable[[np.ndarray], np.ndarray], modality: str = "mr") -> Callable[[Place], None]:
    return _save(lambda voxels, affine: (change(np.array(voxels)), affine), modality)


def _put(value: float, count: int = 50) -> Callable[[np.ndarray], np.ndarray]:
    def change(voxels: np.ndarray) -> np.ndarray:
        changed = voxels.astype(np.float32)
        changed.flat[:count] = value
        return changed

    return change


VOXELS = (
    ("MR of one value", _voxels(lambda v: np.full_like(v, 7)), "refused|warned", "p0_mr"),
    ("MR of zeros", _voxels(np.zeros_like), "refused|warned", "p0_mr"),
    ("MR of NaN", _voxels(lambda v: np.full(v.shape, np.nan, np.float32)), "refused", "p0_mr"),
    ("some NaN", _voxels(_put(np.nan)), "refused|warned", "p0_mr"),
    ("some infinities", _voxels(_put(np.inf)), "refused|warned", "p0_mr"),
    ("one voxel of 1e30", _voxels(_put(1e30, 1)), "refused|warned|works", ""),
    ("MR of 64-bit integers", _voxels(lambda v: v.astype(np.int32)), "works", ""),
    ("CT with 1024 added", _voxels(lambda v: (v + 1024).astype(np.int16), "ct"), "warned", "p0_ct|CT"),
    ("CT in fractions", _voxels(lambda v: ((v + 1024) / 4000).astype(np.float32), "ct"), "warned", "CT"),
    ("CT of NaN", _voxels(lambda v: np.full(v.shape, np.nan, np.float32), "ct"), "refused", "p0_ct"),
    ("no organ at all", _voxels(np.zeros_like, "organs"), "warned|works", ""),
    ("labels beyond num_classes", _voxels(lambda v: np.where(v == 5, 9, v), "organs"), "refused", r"p0_organs.*9"),
    (
        "negative labels",
        _voxels(lambda v: np.where(v == 5, -1, v.astype(np.int16)), "organs"),
        "refused",
        r"p0_organs.*-1",
    ),
    ("labels of halves", _voxels(lambda v: (v / 2).astype(np.float32), "organs"), "refused", "p0_organs"),
    ("labels a rounding off", _voxels(lambda v: (v + 1e-9).astype(np.float64), "organs"), "works", ""),
    ("labels of NaN", _voxels(lambda v: np.where(v == 0, np.nan, v), "organs"), "refused", "p0_organs"),
    ("an organ that no subject has", lambda place: place.set("TASK organs", "num_classes", "9"), "warned", "6|7|8"),
    (
        "labels on another grid",
        _save(lambda v, a: (v[::2, ::2, ::2], a @ np.diag([2, 2, 2, 1])), "organs"),
        "works",
        "",
    ),
    ("labels of another patient", _affine(lambda a: a.__setitem__((2, 3), a[2, 3] + 900), "organs"), "refused", "p0"),
    ("turned axes", _save(lambda v, a: (v[::-1], a @ np.diag([-1, 1, 1, 1]) + _shift(a, v))), "works", ""),
)


def _shift(affine: np.ndarray, voxels: np.ndarray) -> np.ndarray:
    shift = np.zeros((4, 4))
    shift[:3, 3] = affine[:3, 0] * (voxels.shape[0] - 1)
    return shift
