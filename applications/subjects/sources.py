"""The sources of a configuration, each built by the entry of its loader."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sfgkeras.config import Config
from sfgkeras.config.task_sections import InputSource
from sfgkeras.data.references import ImageRef
from sfgkeras.data.sources import FileSource, Place, Source
from sfgkeras.errors import DataError, lookup
from sfgkeras.tables.loaders import LOADERS


def build_source(name: str, source: InputSource) -> Source:
    """Builds what finds the images or values of an input section.

    Args:
        name: The section's name.
        source: What it says.
    """
    source_class = FileSource if source.loader is None else lookup(LOADERS, source.loader, "loader").load()
    place = Place(
        name,
        source.csv_file,
        source.path_to_search,
        source.filename_contains,
        source.filename_not_contains,
        source.filename_removefromid,
        source.layout,
        source.loader,
        source.filename_attributes,
        source.chosen_settings("loader"),
    )
    return source_class(place)


def refuse_other_kind(config: Config, name: str, found: Mapping[str, ImageRef]) -> None:
    """Refuses values where images are needed, and the other way round, by the first of what was found.

    Photos are refused where steps of preprocessing need volumes.

    Raises:
        DataError: Names it, and what to do.
    """
    image, section = next(iter(found.values()), None), config.sources[name]
    if image is None:
        return
    if config.preprocessing is not None and name in config.preprocessing.sources and image.is_photo:
        raise DataError(
            f"{image}: is a photo, and steps of [PREPROCESSING] work on volumes; leave [{name}] out of its sources: "
            "photos take [NETWORK] normalisation and whitening"
        )
    if not image.is_image and not section.gives_values:
        tasks = [task for task, settings in config.tasks.items() if settings.target == name]
        remedy = f"for values per subject set attribute in [TASK {tasks[0]}]" if tasks else "name one of images"
        raise DataError(f"{image}: holds values, and [{name}] is read for images; {remedy}")
    if image.is_image and section.gives_values and LOADERS[section.loader or "nibabel"].gives_values is None:
        raise DataError(
            f"{image}: holds images, and [{name}] is read for values, (N,) or (N, k); correct hdf5_dataset, or the "
            "type of the task"
        )


def refuse_other_lengths(sources: Mapping[str, Source]) -> None:
    """Refuses data sets whose rows belong together by their numbers and are not as many.

    Raises:
        DataError: Names both, and their numbers of rows.
    """
    first: dict[str | None, tuple[str, int]] = {}
    for source in sources.values():
        for phase, (name, count) in source.numbered.items():
            other, expected = first.setdefault(phase, (name, count))
            if count != expected:
                raise DataError(
                    f"{name} has {count} rows and {other} {expected}: rows are matched by their number, so one of them "
                    "lacks subjects, or holds others; write both again together, or give each file a data set of ids "
                    "(hdf5_ids)"
                )


def split_by_phase(images: Mapping[str, ImageRef]) -> dict[str, list[str]]:
    """Returns the split that lies in where images are: a file for each phase; nothing where there is only one."""
    split: dict[str, list[str]] = {}
    for subject_id, image in images.items():
        if image.phase is None:
            return {}
        split.setdefault(image.phase, []).append(subject_id)
    return split if len(split) > 1 else {}


def paths_of(images: Sequence[ImageRef]) -> list[Path]:
    """Returns the files in which images lie, each once."""
    return list(dict.fromkeys(image.path for image in images))
