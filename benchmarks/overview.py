"""Draws the picture that the README opens with, from the folder that `sfgkeras demo` has made.

    python -m benchmarks.overview sfgkeras_demo docs/overview.png

Above, a held-out subject: MR, synthetic CT beside the true one, true and predicted organs. Below, where the filters of
every layer ended. The picture has a white card of its own, so that it can be read on light and on dark pages.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.analysis.grouping_figures import bin_places
from sfgkeras.analysis.grouping_record import GroupingRecord
from sfgkeras.analysis.pictures import canonical, label_colour, radiological_slice
from sfgkeras.analysis.simplex import CORNERS, bin_triangles, simplex_density, simplex_views
from sfgkeras.analysis.style import DENSITY_COLOURS
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.report.volumes import HU_WINDOW, RunData, read_subject_volumes
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.tasks.table import build_tasks
from sfgkeras.callbacks import read_grouping_history
from sfgkeras.config import read_config

WIDTH, DPI = 10.0, 120
MOST_BYTES = 500_000


def volumes_of(run: RunData) -> dict[str, np.ndarray]:
    """Returns the volumes of the first held-out subject, by title, turned to right, front, head."""
    found = read_subject_volumes(run, run.cohort.phase("inference")[0])
    return {volume.title: canonical(volume.array, found.affine)[0] for volume in found.volumes}


def slice_with_most_labels(labels: np.ndarray) -> int:
    """Returns the axial slice on which most labels can be seen, and of those the one with most labelled voxels."""
    seen = [(len(np.unique(cut)), np.count_nonzero(cut)) for cut in np.moveaxis(labels, 2, 0)]
    return max(range(len(seen)), key=seen.__getitem__)


def draw_images(axes: Any, volumes: dict[str, np.ndarray], class_names: tuple[str, ...]) -> None:
    """Draws MR, CT, synthetic CT and organs, cut to the body."""
    index = slice_with_most_labels(volumes["organs: truth"])
    cut = {title: radiological_slice(volume, "axial", index) for title, volume in volumes.items()}
    body = cut["MR"] > 0.12 * np.percentile(cut["MR"], 99)
    rows, columns = (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
    box = (slice(max(rows[0] - 2, 0), rows[-1] + 3), slice(max(columns[0] - 2, 0), columns[-1] + 3))
    mr_window = tuple(np.percentile(volumes["MR"], (0.5, 99.5)))
    panels = (
        ("MR, the input", "MR", mr_window),
        ("CT", "ct: truth", HU_WINDOW),
        ("synthetic CT", "ct: prediction", HU_WINDOW),
        ("organs, predicted: dashed", "MR", mr_window),
    )
    for panel, (title, name, window) in zip(axes, panels, strict=True):
        panel.imshow(cut[name][box], cmap="gray", vmin=window[0], vmax=window[1], interpolation="bilinear")
        panel.set_title(title, fontsize=11)
        panel.set_axis_off()
    for name, style in (("organs: truth", "solid"), ("organs: prediction", "dashed")):
        for label in range(1, len(class_names)):
            mask = cut[name][box] == label
            if mask.any():
                axes[3].contour(mask, [0.5], colors=label_colour(label), linestyles=style, linewidths=1.3)


def draw_triangles(axes: Any, record: GroupingRecord) -> None:
    """Draws the density of the grouping probabilities of every layer."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    (view,) = simplex_views(record.group_names)
    densities = {name: simplex_density(view.project(values))[0] for name, values in record.last().items()}
    norm = PowerNorm(0.5, vmin=0, vmax=max(float(density.max()) for density in densities.values()))
    colours = LinearSegmentedColormap.from_list("density", list(DENSITY_COLOURS))
    x, y = bin_places().T
    left, right, top = view.corners
    for number, (panel, (name, density)) in enumerate(zip(axes, densities.items(), strict=True), start=1):
        panel.tripcolor(x, y, bin_triangles(), density, shading="gouraud", cmap=colours, norm=norm)
        panel.plot(*np.append(CORNERS, CORNERS[:1], axis=0).T, color="0.35", linewidth=0.9)
        panel.text(0.0, -0.05, left, ha="center", va="top", fontsize=9)
        panel.text(1.0, -0.05, right, ha="center", va="top", fontsize=9)
        panel.text(0.5, 0.9, top, ha="center", va="bottom", fontsize=9)
        text = f"layer {number}: {len(record.last()[name])} filters"
        panel.text(0.5, 1.12, text, ha="center", va="bottom", fontsize=10)
        panel.set(xlim=(-0.15, 1.15), ylim=(-0.16, 1.24), aspect="equal")
        panel.set_axis_off()


def draw_overview(folder: Path, path: Path) -> None:
    """Draws the picture of a demo's folder."""
    from matplotlib.figure import Figure

    model = folder / "model"
    config = read_config(model / "configuration.ini")
    run = RunData(config, build_tasks(config), find_cohort(config, needs_targets=False))
    record = GroupingRecord.from_history(read_grouping_history(RunFolder(model).grouping), list(config.tasks))
    figure = Figure(figsize=(WIDTH, 5.2), layout="constrained", facecolor="white")
    above, below = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    above.suptitle("One network, two tasks: from an MR to a synthetic CT and to organs", fontsize=13)
    below.suptitle("What its filters learned to serve: one task in a corner below, all on top", fontsize=13)
    draw_images(above.subplots(1, 4), volumes_of(run), config.tasks["organs"].class_names)
    draw_triangles(below.subplots(1, len(record.layers)), record)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=DPI, metadata={"Software": None}, pil_kwargs={"optimize": True})
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise SystemExit(f"{path}: has {size} bytes, more than {MOST_BYTES}; lower DPI")
    print(f"{path}: {size} bytes")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="what `sfgkeras demo` has made")
    parser.add_argument("path", type=Path, help="the PNG file")
    given = parser.parse_args()
    draw_overview(given.folder, given.path)
