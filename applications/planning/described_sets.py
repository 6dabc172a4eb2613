"""Sources of data sets that describe themselves: nnU-Net's and the Decathlon's `dataset.json`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sfgkeras.applications.planning.sources import FoundSource
from sfgkeras.applications.planning.survey import DATASET, Survey
from sfgkeras.data.file_search import name_of
from sfgkeras.data.references import ImageRef
from sfgkeras.errors import DataError

IMAGES, LABELS = "imagesTr", "labelsTr"


def described_sources(found: Survey) -> tuple[list[FoundSource], list[str]] | None:
    """Returns the sources of a folder with a `dataset.json`; None where there is none, or its folders are not there.

    nnU-Net's images end in the number of their channel, `_0000`; the Decathlon's do not.

    Returns:
        Images and labels; and what is passed over.

    Raises:
        DataError: If the description names labels that are regions, which overlap, or none of its images can be read.
    """
    folder = found.folder
    if found.dataset is None or not (folder / IMAGES).is_dir() or not (folder / LABELS).is_dir():
        return None
    channels = _channels(found.dataset)
    names = _label_names(found.dataset, folder / DATASET)
    images = [image for image in found.images if image.file.parent == folder / IMAGES]
    labels = [image for image in found.images if image.file.parent == folder / LABELS]
    if not images:
        broken = next((why for path, why in found.broken.items() if path.parent == folder / IMAGES), "")
        raise DataError(broken or f"{folder / IMAGES}: holds no image; check the folder")
    sources = []
    for number, channel in channels.items():
        end = f"_{number:04d}"
        own = {name_of(image.file): image for image in images}
        has_ends = any(name.endswith(end) for name in own)
        chosen: dict[str, ImageRef] = {
            name.removesuffix(end): image for name, image in own.items() if not has_ends or name.endswith(end)
        }
        if not has_ends and number:
            continue
        words = tuple(channel.lower().replace("-", "_").split("_"))
        contains = (end,) if has_ends else ()
        sources.append(FoundSource(_name(channel, number), words, dict(chosen), contains, role="image"))
    maps: dict[str, ImageRef] = {name_of(image.file): image for image in labels}
    sources.append(FoundSource("LABELS", ("labels",), maps, role="labels", class_names=names))
    tests = sum(image.file.parent.name.startswith("imagesTs") for image in found.images)
    notes = [f"{tests} images of imagesTs have no labels; sfgkeras predict takes them"] if tests else []
    return sources, notes


def _channels(dataset: Mapping[str, Any]) -> dict[int, str]:
    found = dataset.get("channel_names") or dataset.get("modality") or {"0": "image"}
    return {int(number): str(name) for number, name in sorted(found.items(), key=lambda item: int(item[0]))}


def _name(channel: str, number: int) -> str:
    text = "".join(c if c.isalnum() else "_" for c in channel).strip("_").upper()
    return text if text[:1].isalpha() and text != "LABELS" else f"CHANNEL_{number}"


def _label_names(dataset: Mapping[str, Any], path: Path) -> tuple[str, ...]:
    """Returns the names of labels in order: `{"0": "background"}` of the Decathlon, `{"background": 0}` of nnU-Net."""
    numbers: dict[int, str] = {}
    for key, value in dataset["labels"].items():
        if isinstance(value, list):
            raise DataError(
                f"{path}: label {key!r} is a region of the labels {value}, and regions overlap; give every voxel one "
                "label, and one number to each name"
            )
        number, name = (int(key), value) if str(key).isdigit() else (int(value), key)
        numbers[number] = str(name)
    in_order = sorted(numbers)
    return tuple(numbers[number] for number in in_order) if in_order == list(range(len(in_order))) else ()
