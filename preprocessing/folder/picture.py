"""The quality picture of one subject: mid slices and histograms, before and after."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.data.nifti import reorient
from sfgkeras.files import replacing
from sfgkeras.preprocessing.volume import Volume

PLANES = (("sagittal", 0), ("coronal", 1), ("axial", 2))
SHOWN_PERCENTILES = (0.5, 99.5)


def draw_quality(path: Path, before: Volume, after: Volume, title: str) -> None:
    """Writes a PNG with the three mid slices and the histogram of a subject before and after preprocessing.

    Label maps are outlined. Slices are shown with their true proportions, patient's right on the left.

    Args:
        path: The PNG file; its folder is made.
        before: As read.
        after: As written.
        title: Line above the picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6), dpi=80, facecolor="white")
    axes = figure.subplots(2, 4, gridspec_kw={"width_ratios": [1, 1, 1, 1.2]})
    for row, (name, volume) in zip(axes, (("before", before), ("after", after)), strict=True):
        _draw_slices(row[:3], name, volume)
        _draw_histogram(row[3], volume.array)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as stream:
        FigureCanvasAgg(figure).print_png(stream)


def _draw_slices(axes: Sequence[Any], name: str, volume: Volume) -> None:
    array, affine = reorient(volume.array, volume.affine, ("L", "A", "S"))
    labels = [reorient(label_map, volume.affine, ("L", "A", "S"))[0] for label_map in volume.labels.values()]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    sample = array.ravel()[:: max(1, array.size // 100_000)]
    low, high = (float(limit) for limit in np.percentile(sample, SHOWN_PERCENTILES))
    for axis, (plane, across) in zip(axes, PLANES, strict=True):
        middle = array.shape[across] // 2
        right, up = (a for a in range(3) if a != across)
        extent = (0.0, float(array.shape[right] * spacing[right]), 0.0, float(array.shape[up] * spacing[up]))
        picture = np.take(array, middle, axis=across).T
        axis.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), origin="lower", extent=extent)
        for label_map in labels:
            outline = np.take(label_map, middle, axis=across).T
            if min(outline.shape) > 1 and outline.min() != outline.max():
                axis.contour(outline > 0, levels=[0.5], colors="tab:orange", linewidths=0.8, extent=extent)
        axis.set_title(f"{name}: {plane}", fontsize=8)
        axis.set_axis_off()


def _draw_histogram(axis: Any, array: np.ndarray) -> None:
    counts, edges = np.histogram(array, bins=128)
    axis.stairs(counts, edges, fill=True, color="0.4")
    axis.set_yscale("log", nonpositive="clip")
    axis.set_title(f"{float(array.min()):.4g} to {float(array.max()):.4g}, mean {float(array.mean()):.4g}", fontsize=8)
    axis.tick_params(labelsize=7)
