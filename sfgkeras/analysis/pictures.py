"""PNG pictures of a subject's images, drawn without any window or global state.

Slices are shown the radiological way: seen from the feet, the patient's right on the left; front or head up.
"""

import contextlib
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from sfgkeras.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart by colour-blind readers too (after Okabe and Ito 2008); label k has colour (k - 1) modulo 8.
COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#D55E00", "#CC79A7", "#66FF66", "#FFFFFF")
PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}
STYLES: dict[str, Literal["solid", "dashed"]] = {"truth": "solid", "prediction": "dashed"}


@dataclass(frozen=True)
class Panel:
    """One picture of a montage.

    Attributes:
        title: Written above it.
        image: `(rows, columns)`, the first row on top.
        kind: `"grey"`, or `"error"`: a colour scale from zero, with a bar beside it.
        limits: Values shown darkest and brightest; None for those of the image.
        aspect: Height of a pixel divided by its width.
        unit: Written at the colour bar.
        outlines: Label maps of the shape of the image, by `"truth"` (solid) and `"prediction"` (dashed).
    """

    title: str
    image: np.ndarray
    kind: str = "grey"
    limits: tuple[float, float] | None = None
    aspect: float = 1.0
    unit: str = ""
    outlines: Mapping[str, np.ndarray] = field(default_factory=dict)


def label_colour(value: int) -> str:
    """Returns the colour of a label, the same in every picture."""
    return COLOURS[(value - 1) % len(COLOURS)]


def radiological_slice(volume: np.ndarray, plane: str, index: int) -> np.ndarray:
    """Cuts a slice as it is looked at.

    Args:
        volume: `(x, y, z)` in RAS+ order: right, front and head at the end of each axis.
        plane: `"axial"`, `"coronal"` or `"sagittal"`.
        index: Number of the slice along its axis.

    Returns:
        `(rows, columns)`: the patient's right on the left (the front in sagittal slices), front or head up.
    """
    return np.take(volume, index, axis=PLANES[plane])[::-1, ::-1].T


def canonical(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flips and permutes axes until they run right, front, head; returns the volume and its spacing in mm."""
    from nibabel.orientations import apply_orientation, io_orientation

    orientation = io_orientation(affine)
    spacing = np.empty(3)
    spacing[orientation[:, 0].astype(int)] = np.linalg.norm(affine[:3, :3], axis=0)
    return apply_orientation(volume, orientation), spacing


def choose_slices(length: int, num_slices: int, per_slice: np.ndarray | None = None) -> list[int]:
    """Chooses slices to show.

    Args:
        length: How many there are.
        num_slices: How many are wanted at most.
        per_slice: Labelled voxels of every slice; if there are any, the slices split them evenly. Otherwise
            they split the middle half of the stack.

    Returns:
        Rising slice numbers without repetition.
    """
    shares = (np.arange(num_slices) + 0.5) / num_slices
    if per_slice is None or not per_slice.any():
        chosen = (length - 1) * (0.25 + 0.5 * shares)
    else:
        chosen = np.searchsorted(np.cumsum(per_slice), shares * per_slice.sum())
    return sorted({int(round(c)) for c in chosen})


def save_figure(figure: "Figure", path: str | os.PathLike[str], dpi: int) -> None:
    """Writes a figure as its ending says, `.png` or `.pdf`, whole or not at all; a missing folder is made.

    The figure keeps the layout that it is first written with: to find it takes a third of the time of a figure, and one
    that is written as PNG and PDF would be laid out twice.
    """
    kind = Path(path).suffix.removeprefix(".")
    # Without the time of writing, the same figure gives the same bytes.
    metadata = {"CreationDate": None} if kind == "pdf" else None
    # By way of memory: matplotlib's PDF writer answers a full disk with an AttributeError.
    drawn = io.BytesIO()
    figure.savefig(drawn, format=kind, dpi=dpi, facecolor=figure.get_facecolor(), metadata=metadata)
    figure.set_layout_engine("none")
    with replacing_file(Path(path)) as temporary:
        temporary.write_bytes(drawn.getvalue())


def save_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a text file whole or not at all; a missing folder is made."""
    with replacing_file(Path(path)) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path that takes the place of `path` when the block ends without an error.

    Raises:
        DataError: If it cannot be written, for want of space or of permission; nothing is left of it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        why = error.strerror or str(error)
        raise DataError(f"{path}: cannot be written ({why}); free some space, or choose another folder") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    image = np.asarray(panel.image, np.float32)
    finite = image[np.isfinite(image)]
    low, high = panel.limits or ((finite.min(), finite.max()) if finite.size else (0.0, 1.0))
    if panel.kind not in ("grey", "error"):
        raise ValueError(f"panel {panel.title!r} has kind {panel.kind!r}; it can be 'grey' or 'error'")
    shown = axes.imshow(
        image,
        cmap="gray" if panel.kind == "grey" else "inferno",
        vmin=low,
        vmax=high if high > low else low + 1,
        aspect=panel.aspect,
        interpolation="nearest",
    )
    if panel.kind == "error":
        bar = axes.figure.colorbar(shown, ax=axes, fraction=0.046, pad=0.02)
        bar.ax.tick_params(colors="white", labelsize=7)
        bar.set_label(panel.unit, color="white", fontsize=8)
    for owner, label_map in panel.outlines.items():
        for value in np.unique(label_map[label_map > 0]):
            axes.contour(
                label_map == value,
                [0.5],
                colors=label_colour(int(value)),
                linestyles=STYLES[owner],
                linewidths=1.1,
            )
    axes.set_title(panel.title, color="white", fontsize=9)
    axes.set_axis_off()


def write_montage(
    path: str | os.PathLike[str],
    rows: Sequence[Sequence[Panel]],
    title: str = "",
    label_names: Mapping[str, int] | None = None,
    dpi: int = 110,
) -> None:
    """Writes rows of panels as one PNG, with a legend of the outlines below.

    Args:
        path: The file.
        rows: Panels from left to right, rows from top to bottom.
        title: Written above all.
        label_names: Labels by name, for the legend.
        dpi: Dots per inch.

    Raises:
        ValueError: If there is no panel, or a panel's kind is unknown.
    """
    if not rows or not all(rows):
        raise ValueError(f"a montage needs at least one panel in each of its rows; received {len(rows)} rows")
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = max(len(row) for row in rows)
    heights = [max(panel.aspect * panel.image.shape[0] / panel.image.shape[1] for panel in row) for row in rows]
    owners = {owner for row in rows for panel in row for owner in panel.outlines}
    width = 2.9 * columns
    handles = _legend_handles(owners, label_names or {}) if owners else []
    per_line = max(1, int(width / 1.35))
    legend = 0.22 * -(-len(handles) // per_line) + 0.15 if handles else 0.0
    height = sum(2.7 * min(ratio, 2.0) + 0.3 for ratio in heights) + 0.3 + legend
    layout = ConstrainedLayoutEngine(rect=(0, legend / height, 1, 1 - legend / height))
    figure = Figure(figsize=(width, height), facecolor="black", layout=layout)
    grid = figure.subplots(len(rows), columns, squeeze=False, height_ratios=heights)
    for axes in grid.ravel():
        axes.set_axis_off()
    for line, row in zip(grid, rows, strict=True):
        for axes, panel in zip(line, row, strict=False):
            _draw_panel(axes, panel)
    if title:
        figure.suptitle(title, color="white", fontsize=11)
    if handles:
        figure.legend(
            handles=handles, loc="lower center", ncols=per_line, fontsize=8, labelcolor="white", frameon=False
        )
    save_figure(figure, path, dpi)


def _legend_handles(owners: set[str], label_names: Mapping[str, int]) -> list[Any]:
    """Returns a line per label in its colour and one per owner in its style."""
    from matplotlib.lines import Line2D

    colours = {name.replace("_", " "): label_colour(value) for name, value in label_names.items()}
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    styles = [(owner, style) for owner, style in STYLES.items() if owner in owners]
    return handles + [Line2D([], [], color="white", linestyle=style, label=owner) for owner, style in styles]


def _limits(volume: np.ndarray, low: float, high: float) -> tuple[float, float]:
    """Returns two percentiles of the finite values."""
    finite = volume[np.isfinite(volume)]
    return (float(np.percentile(finite, low)), float(np.percentile(finite, high))) if finite.size else (0.0, 1.0)


def subject_panels(
    volumes: Mapping[str, np.ndarray],
    spacing: np.ndarray,
    plane: str = "axial",
    num_slices: int = 3,
    window: tuple[float, float] | None = None,
    unit: str = "",
    names: Mapping[str, str] | None = None,
) -> list[list[Panel]]:
    """Arranges the images of one subject: a row per slice.

    Args:
        volumes: RAS+ volumes of one shape `(x, y, z)`, any of `"image"` (the input), `"truth"` and
            `"prediction"` (of a regression), `"true_labels"` and `"predicted_labels"`.
        spacing: In mm.
        plane: A key of `PLANES`.
        num_slices: How many slices at most.
        window: Darkest and brightest value of truth and prediction; None for percentiles of the truth.
        unit: Unit of truth and prediction.
        names: What to call image, truth and prediction, e.g. `{"truth": "CT"}`.

    Returns:
        The panels: input, truth, prediction, absolute difference, and outlines over the first of them.
    """
    axis = PLANES[plane]
    sides = [a for a in range(3) if a != axis]
    aspect = float(spacing[sides[1]] / spacing[sides[0]])
    labels = {
        owner: volumes[key]
        for owner, key in (("truth", "true_labels"), ("prediction", "predicted_labels"))
        if key in volumes
    }
    length = next(iter(volumes.values())).shape[axis]
    per_slice = sum(np.count_nonzero(v > 0, axis=tuple(sides)) for v in labels.values()) if labels else None
    shown = {key: volumes[key] for key in ("image", "truth", "prediction") if key in volumes}
    limits = {"image": _limits(shown["image"], 0.5, 99.5)} if "image" in shown else {}
    for key in ("prediction", "truth"):
        if key in shown:
            limits["truth"] = limits["prediction"] = window or _limits(shown[key], 0.5, 99.5)
    error = np.abs(shown["prediction"] - shown["truth"]) if {"truth", "prediction"} <= set(shown) else None
    rows = []
    for index in choose_slices(length, num_slices, per_slice):
        place = f"{plane} {index}"

        def cut(volume: np.ndarray, index: int = index) -> np.ndarray:
            return radiological_slice(volume, plane, index)

        row = [
            Panel(f"{(names or {}).get(key, key)}, {place}", cut(volume), "grey", limits[key], aspect)
            for key, volume in shown.items()
        ]
        if error is not None:
            high = _limits(error, 0, 99)[1] or 1.0
            row.append(Panel(f"absolute difference, {place}", cut(error), "error", (0.0, high), aspect, unit))
        if labels:
            outlines = {owner: cut(label_map) for owner, label_map in labels.items()}
            below = row[0].image if row else np.zeros(next(iter(outlines.values())).shape, np.float32)
            title = f"{' and '.join(labels)}, {place}"
            row.append(Panel(title, below, "grey", row[0].limits if row else (0, 1), aspect, outlines=outlines))
        rows.append(row)
    return rows


def subject_montage(
    path: str | os.PathLike[str],
    affine: np.ndarray,
    image: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    true_labels: np.ndarray | None = None,
    predicted_labels: np.ndarray | None = None,
    label_names: Mapping[str, int] | None = None,
    plane: str = "axial",
    num_slices: int = 3,
    window: tuple[float, float] | None = None,
    unit: str = "",
    title: str = "",
    names: Mapping[str, str] | None = None,
) -> None:
    """Writes a picture of one subject, from whatever images there are.

    Args:
        path: PNG file.
        affine: Voxel index to RAS mm, of all images.
        image: The input, `(x, y, z)`.
        truth: What a regression should have predicted, e.g. the CT, on the same grid.
        prediction: What it predicted.
        true_labels: Label map.
        predicted_labels: Predicted label map.
        label_names: Labels by name, for the legend; None for the values that occur.
        plane: A key of `PLANES`.
        num_slices: How many slices at most.
        window: Darkest and brightest value of truth and prediction; None for percentiles of the truth.
        unit: Unit of truth and prediction.
        title: Written above all.
        names: What to call image, truth and prediction, e.g. `{"truth": "CT"}`.

    Raises:
        ValueError: If there is no image, an image is not `(x, y, z)`, or the shapes differ.
    """
    given = {
        "image": image,
        "truth": truth,
        "prediction": prediction,
        "true_labels": true_labels,
        "predicted_labels": predicted_labels,
    }
    volumes = {key: np.asarray(volume) for key, volume in given.items() if volume is not None}
    shapes = {key: volume.shape for key, volume in volumes.items()}
    if len(set(shapes.values())) != 1 or len(next(iter(shapes.values()))) != 3:
        raise ValueError(f"a montage needs images of one shape (x, y, z); received {shapes or 'none'}")
    for key in ("image", "truth", "prediction"):
        if key in volumes:
            volumes[key] = volumes[key].astype(np.float32)
    spacing = np.ones(3)
    for key, volume in volumes.items():
        volumes[key], spacing = canonical(volume, affine)
    if label_names is None:
        maps = [volumes[key] for key in ("true_labels", "predicted_labels") if key in volumes]
        values = sorted({int(value) for label_map in maps for value in np.unique(label_map) if value > 0})
        label_names = {f"label {value}": value for value in values}
    panels = subject_panels(volumes, spacing, plane, num_slices, window, unit, names)
    write_montage(path, panels, title, label_names)
