"""A half-prepared subject on disk, between measuring histograms and going on."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.files import ARCHIVE_DAMAGE, replacing
from sfgkeras.preprocessing.volume import SideResult, Volume


def write_volume(path: Path, volume: Volume) -> None:
    """Writes a volume with all it carries as one `.npz` file, whole or not at all."""
    arrays = {"array": volume.array, "affine": volume.affine}
    arrays |= {f"label:{name}": label_map for name, label_map in volume.labels.items()}
    sides = []
    for number, side in enumerate(volume.side_results):
        sides.append({"folder": side.folder, "suffix": side.suffix, "is_image": side.array is not None})
        if side.array is not None and side.affine is not None:
            arrays |= {f"side:{number}": side.array, f"side_affine:{number}": side.affine}
        else:
            arrays[f"side:{number}"] = np.frombuffer(side.content, dtype=np.uint8)
    text = json.dumps({"notes": list(volume.notes), "concerns": list(volume.concerns), "sides": sides})
    arrays["text"] = np.frombuffer(text.encode(), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]


def read_volume(path: Path) -> Volume | None:
    """Reads what `write_volume` wrote; None if there is no file, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            text = json.loads(stored["text"].tobytes())
            labels = {name.removeprefix("label:"): stored[name] for name in stored.files if name.startswith("label:")}
            sides = tuple(_read_side(stored, number, each) for number, each in enumerate(text["sides"]))
            concerns = tuple(text["concerns"])
            return Volume(stored["array"], stored["affine"], labels, tuple(text["notes"]), sides, concerns)
    except (*ARCHIVE_DAMAGE, TypeError):
        return None


def _read_side(stored: Mapping[str, np.ndarray], number: int, described: Mapping[str, Any]) -> SideResult:
    content = stored[f"side:{number}"]
    if described["is_image"]:
        return SideResult(described["folder"], described["suffix"], content, stored[f"side_affine:{number}"])
    return SideResult(described["folder"], described["suffix"], content=content.tobytes())
