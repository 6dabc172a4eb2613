"""What inference wrote: images by subject and task, and the table of values."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sfgkeras.analysis.frames import frame, read_frame
from sfgkeras.applications.records.files import VALUES_FILE
from sfgkeras.config import Config
from sfgkeras.errors import DataError, lookup

if TYPE_CHECKING:
    import nibabel as nib
    import pandas as pd

ENDING = ".nii.gz"


class Predictions:
    """The results in a folder, by subject and task; nothing is read before it is asked for.

    Args:
        config: The configuration that they were made with; `[INFERENCE] save_seg_dir` is their folder.
    """

    def __init__(self, config: Config) -> None:
        self._config = config

    @property
    def folder(self) -> Path:
        """Where the results lie."""
        return self._config.inference.save_seg_dir

    def __repr__(self) -> str:
        return f"Predictions({str(self.folder)!r}: {len(list(self._paths()))} images)"

    def files(self) -> "pd.DataFrame":
        """Returns the images that are there: `subject_id`, `task`, `kind` and `path`.

        `kind` is empty for the result itself, else what the file ends with: `std`, `entropy`, `mutual_information`,
        or the name of a class.
        """
        columns = ("subject_id", "task", "kind", "path")
        return frame([dict(zip(columns, each, strict=True)) for each in self._paths()], columns)

    def image(self, subject_id: str, task: str, kind: str = "") -> "nib.Nifti1Image":
        """Returns an image; its voxels are read when they are asked for, `image.get_fdata()`.

        Args:
            subject_id: The subject.
            task: The task.
            kind: Which of the task's images, as in `files`: `std` for the spread of several passes.

        Raises:
            ConfigError: If there is no such task.
            DataError: If there is no such image; says which there are.
        """
        import nibabel as nib

        lookup(self._config.tasks, task, "task")
        found = {each[:3]: each[3] for each in self._paths()}
        path = found.get((subject_id, task, kind))
        if path is None:
            there = [f"{own_subject} {own_task} {own_kind}".strip() for own_subject, own_task, own_kind in found]
            many = f", ... ({len(there)} in all)" if len(there) > 5 else ""
            known = f"there are {', '.join(there[:5])}{many}" if there else "run inference first"
            raise DataError(f"{self.folder}: no image of {f'{subject_id} {task} {kind}'.strip()}; {known}")
        image = nib.load(path)
        assert isinstance(image, nib.Nifti1Image)
        return image

    def values(self) -> "pd.DataFrame":
        """Returns the table of what was predicted per subject: quantities, classes, boxes.

        Raises:
            DataError: If no task predicts values, or inference has not been run.
        """
        return read_frame(self.folder / VALUES_FILE)

    def _paths(self) -> Iterator[tuple[str, str, str, Path]]:
        """Yields subject, task, kind and file; of names that can be read in several ways the longest task counts."""
        tasks = sorted(self._config.tasks, key=len, reverse=True)
        postfix = self._config.inference.output_postfix
        for path in sorted(self.folder.glob(f"*{ENDING}")):
            name = path.name.removesuffix(ENDING)
            for task in tasks:
                subject, mark, rest = name.rpartition(f"_{task}{postfix}")
                if mark and subject and (not rest or rest.startswith("_")):
                    yield subject, task, rest.removeprefix("_"), path
                    break
