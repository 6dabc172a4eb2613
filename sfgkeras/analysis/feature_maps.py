"""Feature maps of the stages of several networks side by side, each stage on one scale."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.analysis.pictures import replacing_file
from sfgkeras.analysis.style import SEQUENCE, short_names
from sfgkeras.files import ARCHIVE_DAMAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDE = 1.25  # inches of a map


@dataclass(frozen=True, eq=False)
class FeatureMaps:
    """What several networks make of the same slices.

    Attributes:
        runs: Names of the networks.
        slices: Names of the slices.
        images: What the networks see of each slice, `(rows, columns)` each.
        maps: By run, then by stage: a map of every slice, `(rows, columns)` each, at the size of the stage.
    """

    runs: tuple[str, ...]
    slices: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    maps: Mapping[str, Mapping[str, tuple[np.ndarray, ...]]]

    @property
    def stages(self) -> list[str]:
        """The stages of all runs, in the order of the run that has the most."""
        longest = max(self.runs, key=lambda run: len(self.maps[run]))
        return list(dict.fromkeys([*self.maps[longest], *(stage for run in self.runs for stage in self.maps[run])]))

    def limits(self, stage: str) -> tuple[float, float]:
        """Returns the lowest and the highest value of a stage, of all runs and slices."""
        found = [image for run in self.runs for image in self.maps[run].get(stage, ())]
        return float(min(image.min() for image in found)), float(max(image.max() for image in found))


def mean_map(features: np.ndarray) -> np.ndarray:
    """Averages features `(*spatial, features)` over the features, `(*spatial)`."""
    return np.asarray(features, np.float32).mean(axis=-1)


def write_feature_maps(path: Path, maps: FeatureMaps) -> None:
    """Keeps feature maps in one compressed NumPy file."""
    arrays: dict[str, Any] = {f"image_{number}": image for number, image in enumerate(maps.images)}
    for place, run in enumerate(maps.runs):
        for stage, images in maps.maps[run].items():
            arrays |= {f"map_{place}_{stage}_{number}": image for number, image in enumerate(images)}
    record = {
        "runs": maps.runs,
        "slices": maps.slices,
        "stages": [list(maps.maps[run]) for run in maps.runs],
    }
    with replacing_file(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, record=np.asarray(json.dumps(record)), **arrays)


def read_feature_maps(path: Path) -> FeatureMaps | None:
    """Reads what `write_feature_maps` wrote; None where there is nothing that can be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            record = json.loads(str(file["record"]))
            numbers = range(len(record["slices"]))
            maps = {
                run: {stage: tuple(file[f"map_{place}_{stage}_{number}"] for number in numbers) for stage in stages}
                for place, (run, stages) in enumerate(zip(record["runs"], record["stages"], strict=True))
            }
            images = tuple(file[f"image_{number}"] for number in numbers)
            return FeatureMaps(tuple(record["runs"]), tuple(record["slices"]), images, maps)
    except (*ARCHIVE_DAMAGE, TypeError):
        return None


def draw_feature_maps(maps: FeatureMaps, number: int) -> "Figure":
    """Draws the maps of one slice: a line for each run, stages across, every stage with one scale for all runs."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    stages, image = maps.stages, maps.images[number]
    tall = float(np.clip(image.shape[0] / image.shape[1], 0.5, 2.0))
    columns, lines = len(stages) + 1, len(maps.runs)
    size = SIDE * columns + 0.4, (SIDE * tall + 0.05) * lines + 0.75
    figure = Figure(size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02))
    grid = figure.subplots(lines, columns, squeeze=False)
    for line, (run, name) in enumerate(zip(maps.runs, short_names(maps.runs), strict=True)):
        _draw_line(grid[line], maps, run, number, stages)
        grid[line, 0].text(
            -0.1, 0.5, name, transform=grid[line, 0].transAxes, rotation=90, va="center", ha="center", fontsize=9
        )  # fmt: skip
    grid[0, 0].set_title("input", fontsize=8)
    for place, (stage, name) in enumerate(zip(stages, short_names(stages, 16), strict=True), start=1):
        low, high = maps.limits(stage)
        grid[0, place].set_title(f"{name}\n{low:.2g} to {high:.2g}", fontsize=8, linespacing=1.1)
    figure.suptitle(f"{maps.slices[number]}: mean over the features of every stage", fontsize=10)
    return figure


def _draw_line(line: Sequence[Any], maps: FeatureMaps, run: str, number: int, stages: Sequence[str]) -> None:
    image = maps.images[number]
    for axes in line:
        axes.set_axis_off()
        axes.set_box_aspect(image.shape[0] / image.shape[1])
    line[0].imshow(image, cmap="gray", interpolation="nearest", aspect="auto")
    for axes, stage in zip(line[1:], stages, strict=True):
        found = maps.maps[run].get(stage)
        if found is None:
            axes.text(0.5, 0.5, "no such\nstage", ha="center", va="center", fontsize=8, transform=axes.transAxes)
            continue
        low, high = maps.limits(stage)
        axes.imshow(found[number], cmap=SEQUENCE, vmin=low, vmax=high, interpolation="nearest", aspect="auto")
