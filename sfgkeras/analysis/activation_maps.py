"""Activation maps of the surest and the least sure filter of every group, and filters that answer to nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfgkeras.analysis.grouping_record import assigned_groups, entropies
from sfgkeras.analysis.pictures import replacing_file
from sfgkeras.analysis.style import short_names
from sfgkeras.files import ARCHIVE_DAMAGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DEAD_BELOW = 1e-6
LONGEST_SIDE = 96


@dataclass(frozen=True)
class FilterMap:
    """One filter's answer to every slice.

    Attributes:
        layer: Name of its layer.
        group: Its most probable group, by number.
        kind: `lowest` or `highest` entropy of its group.
        filter: Its number.
        entropy: Of its grouping probabilities, in nats.
        maps: `(slices, rows, columns)`.
    """

    layer: str
    group: int
    kind: str
    filter: int
    entropy: float
    maps: np.ndarray


@dataclass(frozen=True)
class ActivationMaps:
    """What `choose_maps` found.

    Attributes:
        iteration: Of the network.
        slices: Names of the slices.
        images: The network's input, first channel, `(slices, rows, columns)`.
        filters: The chosen filters.
        dead: Numbers of the filters of each layer whose activation is zero everywhere on the slices.
        num_filters: How many filters each layer has.
        group_names: The tasks, then `shared`.
    """

    iteration: int
    slices: tuple[str, ...]
    images: np.ndarray
    filters: tuple[FilterMap, ...]
    dead: Mapping[str, Sequence[int]]
    num_filters: Mapping[str, int]
    group_names: tuple[str, ...]


def choose_maps(
    activations: Mapping[str, np.ndarray],
    probabilities: Mapping[str, np.ndarray],
    images: np.ndarray,
    slices: Sequence[str],
    group_names: Sequence[str],
    iteration: int,
) -> ActivationMaps:
    """Chooses the filters of lowest and highest entropy of every layer and group, and lists dead filters.

    A group of one filter is shown once, as its lowest; a group without filters is left out. Dead filters are
    chosen only where a group has no other.

    Args:
        activations: Of every filter in its own group's stream, `(slices, rows, columns, filters)` by layer.
        probabilities: `(filters, groups)` by layer.
        images: The network's input, `(slices, rows, columns)`.
        slices: Names of the slices.
        group_names: The tasks, then `shared`.
        iteration: Of the network.
    """
    chosen: list[FilterMap] = []
    dead: dict[str, list[int]] = {}
    for layer, values in activations.items():
        silent = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0) < DEAD_BELOW
        dead[layer] = np.flatnonzero(silent).tolist()
        groups, uncertainty = assigned_groups(probabilities[layer]), entropies(probabilities[layer])
        for group in range(len(group_names)):
            members = np.flatnonzero(groups == group)
            members = members[~silent[members]] if (~silent[members]).any() else members
            ranked = members[np.argsort(uncertainty[members], kind="stable")]
            for kind, number in list(
                zip(("lowest", "highest"), dict.fromkeys([*ranked[:1], *ranked[-1:]]), strict=False)
            ):
                maps = np.asarray(values[..., number], np.float32)
                chosen.append(FilterMap(layer, group, kind, int(number), float(uncertainty[number]), maps))
    sizes = {layer: values.shape[-1] for layer, values in activations.items()}
    return ActivationMaps(iteration, tuple(slices), images, tuple(chosen), dead, sizes, tuple(group_names))


def write_maps(path: Path, maps: ActivationMaps) -> None:
    """Keeps maps in one compressed NumPy file."""
    record = {
        "iteration": maps.iteration,
        "slices": maps.slices,
        "dead": {layer: list(numbers) for layer, numbers in maps.dead.items()},
        "num_filters": dict(maps.num_filters),
        "group_names": maps.group_names,
        "filters": [[entry.layer, entry.group, entry.kind, entry.filter, entry.entropy] for entry in maps.filters],
    }
    arrays: dict[str, Any] = {f"maps_{number}": entry.maps for number, entry in enumerate(maps.filters)}
    with replacing_file(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, record=np.asarray(json.dumps(record)), images=maps.images, **arrays)


def read_maps(path: Path) -> ActivationMaps | None:
    """Reads what `write_maps` wrote; None where there is nothing that can be read."""
    try:
        with np.load(path, allow_pickle=False) as file:
            record = json.loads(str(file["record"]))
            filters = []
            for number, (layer, group, kind, index, uncertainty) in enumerate(record["filters"]):
                filters.append(FilterMap(layer, group, kind, index, uncertainty, file[f"maps_{number}"]))
            return ActivationMaps(
                record["iteration"],
                tuple(record["slices"]),
                file["images"],
                tuple(filters),
                record["dead"],
                record["num_filters"],
                tuple(record["group_names"]),
            )
    except (*ARCHIVE_DAMAGE, TypeError):
        return None


def _cells(maps: ActivationMaps) -> tuple[list[str], list[tuple[int, str]], dict[tuple[str, int, str], FilterMap]]:
    """Returns the rows (layers), the columns (group and kind) and what stands where."""
    layers = list(maps.num_filters)
    columns = [(group, kind) for group in range(len(maps.group_names)) for kind in ("lowest", "highest")]
    return layers, columns, {(entry.layer, entry.group, entry.kind): entry for entry in maps.filters}


def draw_activations(maps: ActivationMaps, number: int) -> "Figure":
    """Draws the maps of one slice: layers downwards, groups and their surest and least sure filter across."""
    from matplotlib.figure import Figure

    layers, columns, cells = _cells(maps)
    names = short_names(maps.group_names)
    image = maps.images[number]
    side = 1.45
    height = side * min(max(image.shape[0] / image.shape[1], 0.5), 2.0) + 0.42
    figure = Figure(figsize=(side * (len(columns) + 1) + 0.5, height * len(layers) + 0.7), layout="constrained")
    grid = figure.subplots(len(layers), len(columns) + 1, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
        axes.set_box_aspect(image.shape[0] / image.shape[1])
    grid[0, 0].imshow(image, cmap="gray", interpolation="nearest")
    grid[0, 0].set_title("input", fontsize=8)
    for line, layer in zip(grid, layers, strict=True):
        line[0].text(-0.12, 0.5, layer, transform=line[0].transAxes, rotation=90, va="center", ha="center", fontsize=9)
        for axes, (group, kind) in zip(line[1:], columns, strict=True):
            entry = cells.get((layer, group, kind))
            if entry is None:
                axes.text(0.5, 0.5, "no filter" if kind == "lowest" else "", ha="center", va="center", fontsize=8)
                continue
            axes.imshow(entry.maps[number], cmap="magma", interpolation="nearest")
            axes.set_title(f"filter {entry.filter}\nH = {entry.entropy:.2f}", fontsize=7.5, linespacing=1.05)
    for column, (group, kind) in enumerate(columns, start=1):
        grid[0, column].annotate(
            f"{names[group]}\n{kind} H", (0.5, 1.0), (0, 30), xycoords="axes fraction", textcoords="offset points",
            ha="center", va="bottom", fontsize=9, fontweight="bold",
        )  # fmt: skip
    figure.suptitle(f"{maps.slices[number]}, iteration {maps.iteration}; H: entropy of p in nats", fontsize=10)
    return figure


def plot_activations(maps: ActivationMaps, number: int) -> Any:
    """Plots what `draw_activations` draws, with the values under the pointer."""
    from plotly.subplots import make_subplots

    layers, columns, cells = _cells(maps)
    titles = [f"{maps.group_names[group]}, {kind} H" for group, kind in columns]
    figure = make_subplots(
        len(layers), len(columns), column_titles=titles, row_titles=layers, horizontal_spacing=0.01,
        vertical_spacing=0.02,
    )  # fmt: skip
    for row, layer in enumerate(layers, start=1):
        for column, (group, kind) in enumerate(columns, start=1):
            entry = cells.get((layer, group, kind))
            if entry is None:
                continue
            step = -(-max(entry.maps.shape[1:]) // LONGEST_SIDE)
            text = f"{layer}, filter {entry.filter}, H = {entry.entropy:.3f}"
            figure.add_heatmap(
                z=entry.maps[number, ::step, ::step],
                colorscale="Magma",
                showscale=False,
                hovertemplate=f"{text}<br>activation %{{z:.3g}}<extra></extra>",
                row=row,
                col=column,
            )
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", constrain="domain")
    for axis in range(1, len(layers) * len(columns) + 1):
        suffix = "" if axis == 1 else str(axis)
        figure.update_layout({f"yaxis{suffix}": {"scaleanchor": f"x{suffix}"}})
    figure.update_layout(
        template="plotly_white",
        height=150 * len(layers) + 120,
        width=150 * len(columns) + 120,
        title=f"{maps.slices[number]}, iteration {maps.iteration}; H: entropy of p in nats",
        font={"family": "system-ui, sans-serif", "size": 12},
        meta={"min_width": 150 * len(columns) + 120},
    )
    return figure
