"""Tries of what subjects are found by: names, splits, lists, tables, photos, HDF5 files, DICOM series."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import SimpleITK
from bad_inputs import SPLIT, Place
from PIL import Image


def _split(text: str) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        (place.folder / "model" / "dataset_split.csv").write_text(text, "utf-8")

    return change


def _table(text: str | bytes) -> Callable[[Place], None]:
    """Returns what makes the MR come from a csv_file."""

    def change(place: Place) -> None:
        (place.folder / "mr.csv").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
        place.set("MR", "csv_file", "mr.csv")

    return change


ROWS = "".join(f"p{n},data/p{n}_mr.nii.gz\n" for n in range(6))


def _rename(new: str) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        for modality in ("mr", "ct", "organs"):
            path = place.path(0, modality)
            path.rename(path.with_name(f"{new}_{modality}.nii.gz"))
        (place.folder / "model" / "dataset_split.csv").write_text(SPLIT.replace("p0,", f'"{new}",'), "utf-8")

    return change


def _latin1(place: Place) -> None:
    path = place.path(0, "mr")
    os.rename(os.fsencode(path), os.fsencode(path.parent) + b"/p\xfc_mr.nii.gz")


def _remove(*names: tuple[int, str]) -> Callable[[Place], None]:
    def change(place: Place) -> None:
        for subject, modality in names:
            place.path(subject, modality).unlink()

    return change


SUBJECTS = (
    (
        "no name has the word",
        lambda p: p.set("MR", "filename_contains", "_pet"),
        "refused",
        r"\[MR\].*_pet.*filename_contains",
    ),
    (
        "a folder that is not there",
        lambda p: p.set("MR", "path_to_search", "gone"),
        "refused",
        r"\[MR\] gone: does not exist",
    ),
    ("a CT is missing", _remove((0, "ct")), "refused", r"p0.*\[CT\]"),
    ("every CT is missing", _remove(*((n, "ct") for n in range(6))), "refused", r"\[CT\]"),
    ("one subject", _remove(*((n, m) for n in range(1, 6) for m in ("mr", "ct", "organs"))), "refused", "subject"),
    (
        "two files for one subject",
        lambda p: shutil.copy(p.path(0, "mr"), p.folder / "data" / "p0_mr.nii"),
        "refused",
        "p0",
    ),
    ("a name of umlauts", _rename("Müller"), "works", ""),
    ("a name of Chinese letters", _rename("王"), "works", ""),
    ("a name with blanks", _rename("p 0"), "works", ""),
    ("a name of 200 letters", _rename("p" * 200), "refused|works", ""),
    ("a name with a comma", _rename("p,0"), "refused|works", ""),
    ("a name in Latin-1", _latin1, "refused|warned", "p"),
    ("an empty folder", lambda place: [path.unlink() for path in (place.folder / "data").iterdir()], "refused", "data"),
    ("a subject of the split is gone", _split(SPLIT + "p9,training\n"), "refused|warned", "p9"),
    ("a subject is not in the split", _split(SPLIT.replace("p5,inference\n", "")), "warned|works", ""),
    ("an unknown phase", _split(SPLIT.replace("p3,validation", "p3,testing")), "refused", "testing"),
    ("a subject in two phases", _split(SPLIT + "p0,inference\n"), "refused", "p0"),
    ("a split without training", _split(SPLIT.replace("training", "inference")), "refused", "training"),
    ("an empty split", _split(""), "refused", "dataset_split"),
    ("a split of one column", _split("p0\np1\n"), "refused", "dataset_split"),
    ("a split with blanks", _split(SPLIT.replace(",", " , ")), "works", ""),
    ("a csv_file", _table(ROWS), "works", ""),
    ("a csv_file that is missing", lambda place: place.set("MR", "csv_file", "gone.csv"), "warned", r"gone\.csv"),
    ("an empty csv_file", _table(""), "refused", r"mr\.csv"),
    ("a csv_file of bytes", _table(bytes(range(256))), "refused", r"mr\.csv"),
    ("a file of the csv_file is gone", _table(ROWS.replace("p0_mr", "p9_mr")), "refused", "p9_mr"),
    ("an id twice", _table(ROWS + "p0,data/p1_mr.nii.gz\n"), "refused", "p0"),
    ("an id that leads out", _table(ROWS.replace("p0,", "../../p0,")), "refused", r"\.\./\.\./p0"),
    ("an absolute id", _table(ROWS.replace("p0,", "/tmp/p0,")), "refused", "/tmp/p0"),
    ("an id of a folder", _table(ROWS.replace("p0,", "a/p0,")), "refused", "a/p0"),
    ("an empty id", _table(ROWS.replace("p0,", ",")), "refused", r"mr\.csv"),
    ("a row of one column", _table(ROWS + "p7\n"), "refused", r"mr\.csv"),
    ("a quote that is not closed", _table('"p0,data/p0_mr.nii.gz\n' + ROWS), "refused", r"mr\.csv"),
    ("a zero byte", _table(ROWS.encode() + b"\0,x\n"), "refused", r"mr\.csv"),
)

# Photos, tables, HDF5.


def with_photos(change: Callable[[Path], object]) -> Callable[[Place], None]:
    """Returns what replaces the run by one of photos with an age and a gender in a table."""

    def write(place: Place) -> None:
        shutil.rmtree(place.folder / "model")
        folder = place.folder / "photos"
        folder.mkdir()
        rng = np.random.default_rng(0)
        for n in range(8):
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(folder / f"f{n}.png")
        table = "subject_id,age,gender\n" + "".join(f"f{n},{20 + n},{n % 2}\n" for n in range(8))
        (place.folder / "people.csv").write_text(table)
        place.ini.write_text(PHOTO_INI)
        change(place.folder)

    return write


PHOTO_INI = """[PHOTO]
path_to_search = photos
spatial_window_size = 40, 40, 1

[PEOPLE]
loader = table
csv_file = people.csv

[SYSTEM]
model_dir = model

[NETWORK]
name = vgg11
sharing = hard_sharing
width = 0.1
batch_size = 4

[TRAINING]
max_iter = 10
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25

[MULTITASK]
image = PHOTO
tasks = age, gender

[TASK age]
type = regression
target = PEOPLE
attribute = age
loss = rmse

[TASK gender]
type = classification
target = PEOPLE
attribute = gender
num_classes = 2
"""


def _people(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "people.csv").write_text(text)


def _rewrite_people(old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "people.csv").write_text((folder / "people.csv").read_text().replace(old, new))


def _grey(folder: Path) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "photos" / "f0.png")


def _cut_photo(folder: Path) -> None:
    path = folder / "photos" / "f0.png"
    path.write_bytes(path.read_bytes()[:200])


PHOTOS = (
    ("photos and a table", lambda folder: None, "works|warned", ""),
    ("a photo is cut", _cut_photo, "refused", "f0"),
    ("a photo is a text", lambda folder: (folder / "photos" / "f0.png").write_text("x"), "refused", "f0"),
    ("one grey photo", _grey, "refused|warned", "f0"),
    ("a value is missing", _rewrite_people("f0,20,0", "f0,,0"), "refused|warned", "f0|people"),
    ("a value is a word", _rewrite_people("f0,20,0", "f0,old,0"), "refused", "old"),
    ("a value is NaN", _rewrite_people("f0,20,0", "f0,nan,0"), "refused", "people|nan"),
    ("a class beyond num_classes", _rewrite_people("f1,21,1", "f1,21,2"), "refused", "2"),
    ("a class of a half", _rewrite_people("f1,21,1", "f1,21,0.5"), "refused", "0.5"),
    ("a column is missing", _people("subject_id,gender\nf0,1\n"), "refused", "age"),
    ("no first line", _people("f0,20,1\nf1,30,0\n"), "refused", "subject_id"),
    ("a row too long", _rewrite_people("f0,20,0", "f0,20,0,7"), "refused", "people"),
    ("a subject twice", _rewrite_people("f0,20,0", "f0,20,0\nf0,21,0"), "refused", "f0"),
    ("decimal commas", _rewrite_people("f0,20,0", 'f0,"20,5",0'), "refused", "20,5"),
    (
        "a table of one age",
        _people("subject_id,age,gender\n" + "".join(f"f{n},30,{n % 2}\n" for n in range(8))),
        "refused|warned|works",
        "",
    ),
)


def with_hdf5(change: Callable[[h5py.File], object]) -> Callable[[Place], None]:
    """Returns what replaces the run by one of rows of images and masks, changed."""

    def write(place: Place) -> None:
        shutil.rmtree(place.folder / "model")
        rng = np.random.default_rng(0)
        with h5py.File(place.folder / "all.h5", "w") as file:
            file["images"] = rng.integers(0, 255, (12, 32, 32, 3), dtype=np.uint8)
            file["masks"] = rng.integers(0, 2, (12, 32, 32, 1), dtype=np.uint8)
            change(file)
        place.ini.write_text(HDF5_INI)

    return write


HDF5_INI = """[PHOTO]
loader = hdf5
hdf5_file = all.h5
hdf5_dataset = images
spatial_window_size = 32, 32, 1

[MASK]
loader = hdf5
hdf5_file = all.h5
hdf5_dataset = masks

[SYSTEM]
model_dir = model

[NETWORK]
name = unet
sharing = hard_sharing
unet_levels = 2
width = 0.1
batch_size = 4

[TRAINING]
max_iter = 10
exclude_fraction_for_validation = 0.25
exclude_fraction_for_inference = 0.25

[MULTITASK]
image = PHOTO
tasks = mask

[TASK mask]
type = segmentation
target = MASK
num_classes = 2
"""


def _again(name: str, make: Callable[[h5py.File], object]) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        value = make(file)
        del file[name]
        if value is not None:
            file[name] = value

    return change


HDF5 = (
    ("rows of images and masks", lambda file: None, "works|warned", ""),
    ("a data set is missing", _again("masks", lambda f: None), "refused", "masks"),
    ("fewer rows", _again("masks", lambda f: f["masks"][:9]), "refused", "masks"),
    ("masks of another size", _again("masks", lambda f: np.zeros((12, 16, 16, 1), np.uint8)), "refused", "masks|MASK"),
    ("complex numbers", _again("images", lambda f: f["images"][:].astype(np.complex64)), "refused", "images"),
    ("texts", _again("images", lambda f: np.array([b"a"] * 12)), "refused", "images"),
    ("no rows", _again("images", lambda f: f["images"][:0]), "refused", "images"),
    ("one number", _again("images", lambda f: 3), "refused", "images"),
    ("a group instead", lambda f: (f.__delitem__("masks"), f.create_group("masks")), "refused", "masks"),
    ("labels beyond num_classes", _again("masks", lambda f: f["masks"][:] + 3), "refused", "3|4"),
    (
        "images of NaN",
        _again("images", lambda f: np.full((12, 32, 32, 3), np.nan, np.float32)),
        "refused",
        "images|PHOTO",
    ),
)


def broken_hdf5(place: Place) -> None:
    """Cuts the file of a run of rows."""
    with_hdf5(lambda file: None)(place)
    path = place.folder / "all.h5"
    path.write_bytes(path.read_bytes()[:3000])


def no_hdf5(place: Place) -> None:
    """Writes a text in the place of the file of a run of rows."""
    with_hdf5(lambda file: None)(place)
    (place.folder / "all.h5").write_text("not hdf5")


# DICOM series.


def with_series(change: Callable[[list[Path]], object]) -> Callable[[Place], None]:
    """Returns what replaces the MR of p0 by a DICOM folder, changed."""

    def write(place: Place) -> None:
        path = place.path(0, "mr")
        image = SimpleITK.Cast(SimpleITK.ReadImage(str(path)), SimpleITK.sitkInt16)
        path.unlink()
        folder = path.parent / "p0_mr"
        folder.mkdir()
        writer = SimpleITK.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        files = []
        direction = image.GetDirection()
        for n in range(image.GetDepth()):
            plane = image[:, :, n]
            tags = {
                "0020|000e": "1.2.3.4", "0020|000d": "1.2.3", "0008|0060": "MR", "0020|0013": str(n),
                "0020|0032": "\\".join(map(str, image.TransformIndexToPhysicalPoint((0, 0, n)))),
                "0020|0037": "\\".join(str(direction[k]) for k in (0, 3, 6, 1, 4, 7)),
                "0008|0018": f"1.2.3.4.{n + 1}",
            }  # fmt: skip
            for tag, value in tags.items():
                plane.SetMetaData(tag, value)
            files.append(folder / f"{n:03d}.dcm")
            writer.SetFileName(str(files[-1]))
            writer.Execute(plane)
        change(files)

    return write


def _cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


DICOM = (
    ("a series", lambda files: None, "works|warned", ""),
    ("a slice in the middle is gone", lambda files: files[5].unlink(), "refused", "p0_mr"),
    ("an outer slice is cut", lambda files: _cut(files[-1], 500), "refused|warned", "p0_mr"),
    ("an outer slice is empty", lambda files: _cut(files[0], 0), "refused|warned", "p0_mr"),
    ("a text lies beside", lambda files: files[0].with_name("notes.txt").write_text("x"), "works|warned", ""),
    ("every slice is cut", lambda files: [_cut(path, 300) for path in files], "refused", "p0_mr"),
    ("an empty folder", lambda files: [path.unlink() for path in files], "refused|warned", "p0"),
)
