"""Whom a run over a folder is about: images and label maps by subject, and what else lies there or is read."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.folder.inputs import find_inputs
from sfgkeras.preprocessing.pipeline import Pipeline
from sfgkeras.preprocessing.volume import StepContext

Files = str | Path | Mapping[str, Path]
"""A folder, or files by subject id."""


@dataclass(frozen=True)
class FolderSubjects:
    """The subjects of a run, and files that it passes over.

    Attributes:
        images: Image of each subject.
        label_maps: Label map of those that have one.
        ignored: Files of the input folder that are no volumes.
        left_out: Folders below the input that hold label maps, or what an earlier run wrote.
        strangers: Label maps without an image.
    """

    images: Mapping[str, Path]
    label_maps: Mapping[str, Path]
    ignored: tuple[Path, ...]
    left_out: tuple[Path, ...]
    strangers: tuple[Path, ...]

    def files_read(self, pipeline: Pipeline, split: str | Path | None) -> list[Path]:
        """Returns all files that a run reads: images, label maps, the split, and files of steps, shared or of one."""
        found = [*self.images.values(), *self.label_maps.values(), *self.strangers]
        found += [] if split is None else [Path(split)]
        places = [value for step in pipeline.steps for value in vars(step.settings).values() if isinstance(value, Path)]
        for place in places:
            found.append(place)
            for subject_id in self.images if place.is_dir() else ():
                with contextlib.suppress(DataError):
                    found.append(StepContext(subject_id).companion(place))
        return found

    def passed_over(self) -> list[str]:
        """Returns a sentence for each file and folder that is passed over."""
        return [
            *(f"ignored, not a volume: {path}" for path in self.ignored),
            *(f"left out, holds label maps or what an earlier run wrote: {path}" for path in self.left_out),
            *(f"ignored, a label map without an image: {path}" for path in self.strangers),
        ]


def find_subjects(inputs: Files, output: Path, labels: Files | None) -> FolderSubjects:
    """Finds the images of a run and their label maps.

    Args:
        inputs: Folder of images, searched to its depths; or files by subject id.
        output: Folder of the results, absolute.
        labels: Folder of label maps named as their images, or files by subject id; None for none.

    Raises:
        ConfigError: If there is nothing, a folder is named for two things, or no label map has the name of an image.
        DataError: If a folder cannot be read.
    """
    images, ignored, left_out = _find_images(inputs, output, labels)
    label_maps, strangers = _find_labels(labels, images)
    return FolderSubjects(images, label_maps, ignored, left_out, strangers)


def _find_images(
    inputs: Files, output: Path, labels: Files | None
) -> tuple[dict[str, Path], tuple[Path, ...], tuple[Path, ...]]:
    """Returns the images by subject, other files, and folders that are no inputs."""
    if isinstance(inputs, Mapping):
        if not inputs:
            raise ConfigError("there is no subject to preprocess; look at path_to_search and the csv_file")
        files = {subject_id: Path(path).resolve() for subject_id, path in sorted(inputs.items())}
        if any(path.parent == output for path in files.values()):
            raise ConfigError(f"{output}: holds the input itself; choose another output folder")
        return files, (), ()
    folder = Path(inputs).resolve()
    if folder == output:
        raise ConfigError(f"{output}: is the input folder itself; choose another output folder")
    label_folder = [] if labels is None or isinstance(labels, Mapping) else [Path(labels).resolve()]
    if folder in label_folder:
        raise ConfigError(f"{folder}: is named as the folder of images and of label maps; give each its own")
    found = find_inputs(folder, [output, *label_folder])
    return dict(found.files), found.ignored, found.left_out


def _find_labels(labels: Files | None, images: Mapping[str, Path]) -> tuple[dict[str, Path], tuple[Path, ...]]:
    """Returns label maps by subject, and those without an image."""
    if labels is None:
        return {}, ()
    if isinstance(labels, Mapping):
        found = {subject_id: Path(path).resolve() for subject_id, path in labels.items()}
    else:
        found = dict(find_inputs(Path(labels).resolve()).files)
    matched = {subject_id: path for subject_id, path in found.items() if subject_id in images}
    if not matched:
        raise ConfigError(
            f"no label map has the name of an image (labels {', '.join(sorted(found)[:3])}, images "
            f"{', '.join(sorted(images)[:3])}); name both alike, or list them by subject"
        )
    return matched, tuple(path for subject_id, path in found.items() if subject_id not in images)
