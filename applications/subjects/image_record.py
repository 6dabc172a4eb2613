"""What the images that a network was trained on were like, kept with it: new ones must be like them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from sfgkeras.applications.records.files import RunFolder, write_text
from sfgkeras.applications.subjects.preprocessing_settings import build_steps
from sfgkeras.applications.subjects.session import Session
from sfgkeras.config import Config
from sfgkeras.data.nifti import Header
from sfgkeras.data.references import ImageRef
from sfgkeras.data.subjects import Subject
from sfgkeras.errors import DataError, counted
from sfgkeras.reporter import Reporter

USUAL_RATIO = 1.25
"""How far a voxel size may lie outside those of training before it is warned of."""


@dataclass(frozen=True)
class ImageRecord:
    """What training saw of its first image source, which sets the grid.

    Attributes:
        channels: Channels of the network's input.
        photos: Whether the images were photos.
        orientations: How many training images had which axes, e.g. `{"LPS": 40}`; empty for photos.
        spacing: Smallest and largest voxel size in mm along left-right, posterior-anterior and inferior-superior;
            empty for photos.
    """

    channels: int
    photos: bool
    orientations: Mapping[str, int]
    spacing: tuple[tuple[float, float, float], ...]


def write_image_record(session: Session, channels: int) -> None:
    """Keeps what the training images are like in the model folder."""
    name = session.config.image[0]
    images = [subject.images[name] for subject in session.cohort.phase("training")]
    headers = [image.header() for image in images if not image.is_photo]
    spacings = np.array([anatomical_spacing(header) for header in headers]).reshape(-1, 3)
    record = ImageRecord(
        channels,
        photos=not headers,
        orientations=dict(sorted(Counter("".join(header.axcodes) for header in headers).items())),
        spacing=tuple(tuple(each.tolist()) for each in (spacings.min(0), spacings.max(0))) if headers else (),
    )
    write_text(RunFolder(session.config.system.model_dir).images, json.dumps(asdict(record), indent=1) + "\n")


def read_image_record(folder: RunFolder) -> ImageRecord | None:
    """Reads what training kept; None where an earlier version trained, which kept nothing."""
    try:
        content = json.loads(folder.images.read_text(encoding="utf-8"))
        low_high = tuple((float(x), float(y), float(z)) for x, y, z in content["spacing"])
        orientations = {str(codes): int(count) for codes, count in content["orientations"].items()}
        return ImageRecord(int(content["channels"]), bool(content["photos"]), orientations, low_high)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def anatomical_spacing(header: Header) -> tuple[float, ...]:
    """Returns the voxel size in mm along left-right, posterior-anterior and inferior-superior."""
    axis = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}
    sizes = {axis[code]: size for code, size in zip(header.axcodes, header.spacing, strict=True)}
    return tuple(sizes[number] for number in range(3))


def refuse_unlike(config: Config, subjects: Sequence[Subject], record: ImageRecord | None, reporter: Reporter) -> None:
    """Refuses images that the network would see otherwise than those of training; warns of unusual voxel sizes.

    What `axcodes`, `pixdim` or a step of `[PREPROCESSING]` brings to one form may differ in the file.

    Raises:
        DataError: If there are more or fewer channels, or another orientation; one line for each subject.
    """
    if record is None:
        return
    name, pipeline = config.image[0], build_steps(config)
    source = config.sources[name]
    problems = []
    for subject in subjects:
        channels = sum(_channels(subject.images[each]) for each in config.image)
        if channels != record.channels:
            kind = "photos" if record.photos else "volumes"
            own_kind = subject.images[name].is_photo == record.photos
            needed = f"{kind} of as many" if own_kind and len(config.image) == 1 else kind
            problems.append(
                f"{subject.images[name]}: gives {counted(channels, 'channel')}, and the "
                f"network was trained with {record.channels}: {needed} are needed"
            )
            continue
        if record.photos or (pipeline is not None and pipeline.changing("grid")):
            continue
        header = subject.images[name].header()
        codes = "".join(header.axcodes)
        if not source.axcodes and codes not in record.orientations:
            wanted = " or ".join(record.orientations)
            axes = ",".join(max(record.orientations.items(), key=lambda item: item[1])[0])
            problems.append(
                f"{header.path}: its axes are {codes}, those of the training images {wanted}, and [{name}] has no "
                "axcodes that would turn it; turn it first: sfgkeras preprocess --input FOLDER --output TURNED --steps "
                f"reorient --reorient_axcodes {axes}"
            )
        elif not source.pixdim:
            _warn_of_spacing(header, record, name, reporter)
    if problems:
        raise DataError("\n".join(problems))


def _channels(image: ImageRef) -> int:
    shape = image.header().shape
    return shape[3] if len(shape) == 4 else 1


def _warn_of_spacing(header: Header, record: ImageRecord, name: str, reporter: Reporter) -> None:
    low, high = (np.asarray(each) for each in record.spacing)
    own = np.asarray(anatomical_spacing(header))
    if (own < low / USUAL_RATIO).any() or (own > high * USUAL_RATIO).any():
        shown = " x ".join(f"{size:.3g}" for size in own)
        usual = " x ".join(f"{a:.3g}" if a == b else f"{a:.3g}-{b:.3g}" for a, b in zip(low, high, strict=True))
        reporter.warning(
            f"{header.path}: its voxels are {shown} mm (left-right, back-front, feet-head), those of training were "
            f"{usual} mm, and [{name}] has no pixdim that would resample it: the result may be poor"
        )
