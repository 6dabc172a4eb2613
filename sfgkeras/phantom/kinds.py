"""The kinds of synthetic cohorts: what each shows, how it lies on the disk, and which INI file learns from it."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Progress = Callable[[int, int], None]
"""Is called with the number of subjects that are done and with their total."""


class Writer(Protocol):
    """What writes the files of a cohort."""

    def __call__(
        self,
        folder: str | os.PathLike[str],
        num_subjects: int,
        size: str = "small",
        seed: int = 0,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> list[Path]:
        """Writes a cohort.

        Args:
            folder: Created if it does not exist.
            num_subjects: How many subjects; the first ones are the same whatever their number.
            size: A key of the kind's own sizes, among them those of `SIZES`.
            seed: The same seed gives the same files.
            overwrite: Whether files that are there already may be replaced.
            progress: Called with the number of subjects written and their total, after each.

        Returns:
            The files written.

        Raises:
            DataError: If a file is there already and may not be replaced; nothing is written then.
            ValueError: If the number of subjects is not positive, or the size is unknown.
        """


@dataclass(frozen=True)
class Layout:
    """How a cohort lies on the disk.

    Attributes:
        summary: What is written, in a few words.
        load: Returns what writes it; nothing heavy is imported before.
        settings: Settings that lead the kind's INI file to the folder: what lies below it, by `SECTION.KEY`; None where
            the file reads another layout.
    """

    summary: str
    load: Callable[[], Writer]
    settings: Mapping[str, str] | None


@dataclass(frozen=True)
class PhantomKind:
    """A kind of synthetic cohort.

    Attributes:
        summary: What it shows, in a few words.
        config: The shipped INI file that learns from it.
        layouts: How it can lie on the disk; the first is usual.
    """

    summary: str
    config: str
    layouts: Mapping[str, Layout]

    def check_arguments(self, layout: str, folder: Path) -> list[str]:
        """Returns the arguments of `sfgkeras` that check the INI file on a cohort in a folder; none if it cannot."""
        settings = self.layouts[layout].settings
        if settings is None:
            return []
        places = (word for key, below in settings.items() for word in (f"--{key}", str(folder / below)))
        return ["check", "-c", self.config, *places]


def _write_pelves() -> Writer:
    from sfgkeras.phantom.pelvis import write_phantom_cohort

    return write_phantom_cohort


def _write_pictures() -> Writer:
    from sfgkeras.phantom.shapes_files import write_pictures

    return write_pictures


def _write_disjoint() -> Writer:
    from sfgkeras.phantom.shapes_files import write_disjoint_pictures

    return write_disjoint_pictures


def _write_hdf5() -> Writer:
    from sfgkeras.phantom.shapes_files import write_hdf5

    return write_hdf5


def _write_fundus() -> Writer:
    from sfgkeras.phantom.fundus import write_fundus

    return write_fundus


def _write_lesions() -> Writer:
    from sfgkeras.phantom.lesions import write_lesions

    return write_lesions


def _write_rooms() -> Writer:
    from sfgkeras.phantom.rooms_files import write_rooms

    return write_rooms


def _write_faces() -> Writer:
    from sfgkeras.phantom.faces import write_faces

    return write_faces


def _write_hearts() -> Writer:
    from sfgkeras.phantom.heart import write_hearts

    return write_hearts


def _write_modalities() -> Writer:
    from sfgkeras.phantom.modalities import write_modalities

    return write_modalities


def _write_breasts() -> Writer:
    from sfgkeras.phantom.breasts import write_breasts

    return write_breasts


def _write_ultrasound() -> Writer:
    from sfgkeras.phantom.ultrasound import write_ultrasound

    return write_ultrasound


def _write_tissue() -> Writer:
    from sfgkeras.phantom.tissue import write_tissue

    return write_tissue


def _below(*sources: str) -> Mapping[str, str]:
    """Returns the settings of sources that all search the folder itself."""
    return {f"{name}.path_to_search": "" for name in sources}


SIZES: Mapping[str, str] = {
    "small": "trains in minutes",
    "full": "the size of the published experiments",
}
KINDS: Mapping[str, PhantomKind] = {
    "pelvis": PhantomKind(
        "male pelves: T2 MR, CT, organ labels",
        "demo",
        {"nifti": Layout("NIfTI files", _write_pelves, _below("MR", "CT", "ORGANS"))},
    ),
    "shapes": PhantomKind(
        "cats and dogs on textured grounds: photo, mask, kind, box",
        "pets",
        {
            "hdf5": Layout(
                "HDF5 files in train, val and test", _write_hdf5, _below("PHOTOS", "MASKS", "KINDS", "BOXES")
            ),
            "folder": Layout("PNG images and masks, a CSV file of kinds and boxes", _write_pictures, None),
            "disjoint": Layout("the same, of each subject one target: mask, kind or box", _write_disjoint, None),
        },
    ),
    "faces": PhantomKind(
        "faces of ellipses and pictures without one: photo, landmarks, visibility, pose, gender, smile, glasses",
        "hyperface",
        {
            "folder": Layout(
                "PNG images, a CSV file",
                _write_faces,
                {"PHOTOS.path_to_search": "images", "FACES.csv_file": "subjects.csv"},
            )
        },
    ),
    "fundus": PhantomKind(
        "eye fundi with red and bright lesions: photo, a mask for each type, a table of which are there",
        "playout",
        {
            "folder": Layout(
                "PNG images and masks, a CSV file",
                _write_fundus,
                {
                    "FUNDUS.path_to_search": "images",
                    "RED.path_to_search": "red",
                    "BRIGHT.path_to_search": "bright",
                    "PRESENCE.csv_file": "subjects.csv",
                },
            )
        },
    ),
    "lesions": PhantomKind(
        "ultrasound with one lesion each: picture, mask, a table of its echo and its margin",
        "cam",
        {
            "folder": Layout(
                "PNG images and masks, a CSV file",
                _write_lesions,
                {"ULTRASOUND.path_to_search": "images", "SIGNS.csv_file": "subjects.csv"},
            )
        },
    ),
    "rooms": PhantomKind(
        "rooms with boxes: photo, depth and normals with holes, kinds of surface",
        "eigen",
        {
            "hdf5": Layout(
                "HDF5 files in train, val and test", _write_rooms, _below("PHOTOS", "DEPTH", "NORMALS", "SURFACES")
            )
        },
    ),
    "heart": PhantomKind(
        "moving hearts: four frames of a beating heart, labels, the true motion",
        "qin",
        {
            "nifti": Layout(
                "NIfTI files",
                _write_hearts,
                _below("FRAME_1", "FRAME_2", "FRAME_3", "FRAME_4", "LABELS"),
            )
        },
    ),
    "modalities": PhantomKind(
        "brains and breasts in MR, hearts in CT: images, one set of labels",
        "moeskops",
        {"nifti": Layout("NIfTI files", _write_modalities, _below("IMAGES", "LABELS"))},
    ),
    "breasts": PhantomKind(
        "breasts in MR with a lesion each: images, a table of seven questions and their answers",
        "maicas",
        {
            "nifti": Layout(
                "NIfTI files, a CSV file",
                _write_breasts,
                {"MR.path_to_search": "images", "ANSWERS.csv_file": "subjects.csv"},
            )
        },
    ),
    "ultrasound": PhantomKind(
        "abdominal ultrasound in four views: NIfTI image, a table of views and of the ends of axes",
        "mgcn",
        {
            "nifti": Layout(
                "NIfTI files, a CSV file",
                _write_ultrasound,
                {"SCAN.path_to_search": "images", "LABELS.csv_file": "subjects.csv"},
            )
        },
    ),
    "tissue": PhantomKind(
        "stained tissue with three diagnoses: photo, a map of the tissue, a table of diagnoses",
        "ynet",
        {
            "folder": Layout(
                "PNG images and maps, a CSV file",
                _write_tissue,
                {
                    "SLIDE.path_to_search": "images",
                    "TISSUE.path_to_search": "maps",
                    "DIAGNOSIS.csv_file": "subjects.csv",
                },
            )
        },
    ),
}
