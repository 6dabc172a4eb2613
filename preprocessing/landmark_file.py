"""The file of Nyul landmarks: readable JSON, one entry per modality; NiftyNet's text files are read too."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sfgkeras.errors import DataError
from sfgkeras.files import replacing
from sfgkeras.preprocessing.fitted import FittedFile
from sfgkeras.preprocessing.histogram import NyulLandmarks, landmark_percentiles

FORMAT = "Nyul landmarks of sfgkeras, version 1"


def write_landmarks(path: str | Path, landmarks: Mapping[str, NyulLandmarks]) -> None:
    """Writes landmarks by modality as one JSON file, whole or not at all.

    Args:
        path: The file; its folder is created.
        landmarks: Landmarks by the name of their modality.
    """
    path = Path(path)
    entries = {
        modality: {
            "percentiles": each.percentiles.tolist(),
            "values": each.values.tolist(),
            "foreground": each.foreground,
            "software": each.software,
            "fitted_on": list(each.fitted_on),
            "preparation": each.preparation,
        }
        for modality, each in landmarks.items()
    }
    text = json.dumps({"format": FORMAT, "modalities": entries}, indent=2, ensure_ascii=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        stream.write(f"{text}\n".encode())


def read_landmarks(path: str | Path, cutoff: tuple[float, float] = (0.01, 0.99)) -> dict[str, NyulLandmarks]:
    """Reads a file of landmarks: ours, or NiftyNet's (a line per modality: its name, then 13 numbers).

    Args:
        path: The file.
        cutoff: Cut-off that a NiftyNet file was made with; such files do not say. Ignored for ours.

    Returns:
        Landmarks by the name of their modality.

    Raises:
        DataError: If the file is missing, neither kind, or holds landmarks that do not increase.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(
            f"{path}: there are no landmarks; correct histogram_ref_file, or leave it out to fit them on the "
            "training subjects"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as landmarks ({error})") from error
    try:
        found = _parse_json(text) if text.lstrip().startswith("{") else _parse_niftynet(text, cutoff)
    except (DataError, KeyError, TypeError, ValueError) as error:
        reason = f"has no {error}" if isinstance(error, KeyError) else str(error)
        raise DataError(f"{path}: is no file of landmarks: {reason}; fit it again") from error
    if not found:
        raise DataError(f"{path}: holds no landmarks; fit it again")
    return found


def _parse_json(text: str) -> dict[str, NyulLandmarks]:
    content = json.loads(text)
    if content.get("format") != FORMAT:
        raise DataError(f"its format is {content.get('format')!r}, not {FORMAT!r}")
    return {
        modality: NyulLandmarks(
            entry["percentiles"], entry["values"], modality, entry["foreground"], entry["software"],
            tuple(entry["fitted_on"]), entry["preparation"],
        )
        for modality, entry in content["modalities"].items()
    }  # fmt: skip


def _parse_niftynet(text: str, cutoff: tuple[float, float]) -> dict[str, NyulLandmarks]:
    percentiles = landmark_percentiles(cutoff)
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        if len(words) != 1 + percentiles.size:
            raise DataError(
                f"line {number} has {len(words) - 1} numbers after the modality, NiftyNet writes {percentiles.size}"
            )
        found[words[0]] = NyulLandmarks(
            percentiles, np.array([float(word) for word in words[1:]]), words[0], software="NiftyNet"
        )
    return found


LANDMARK_FILE = FittedFile(
    lambda path, settings: read_landmarks(path, settings.cutoff), write_landmarks, "landmarks", "landmarks.json"
)
