"""What a training step costs as the problem grows: seconds and memory against width, tasks, window and dimensions.

    python benchmarks/cost_against_size.py [--quick] [--output FOLDER] [--threads 2] [--seconds 3] [--memory GIB]

One thing is varied at a time around HighResNet with filter groups (`sfg`), width 1, two tasks, windows of 128 x 128,
batch 10; 3-D windows come in batches of 1. Over the windows, `hard_sharing` and `single_task` are measured too. Every
point is a process of its own, so that its peak of memory is its own. Writes cost.json, cost.md and cost.png. What
cost.json already holds is not measured again: an interrupted run goes on where it was. Points that would need more
memory than there is, or a minute per step, are skipped, with the reason. `--quick` measures a few tiny points.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from process_memory import memory_of
from training_steps import build_network, build_step, random_batch

FEWEST_STEPS, MOST_STEPS = 2, 9
SLOW, SLOWEST = 6.0, 60.0
"""Seconds of a step from which on one is measured instead of several, and from which on (by the estimate) none."""
SAFETY = 0.9
"""Share of the available memory that a point may need by the estimate."""
Found = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Point:
    """One size of the problem.

    Attributes:
        sharing: Sharing mechanism.
        tasks: Number of tasks.
        width: Factor on the numbers of filters.
        spatial_rank: 2 or 3.
        window: Side of the windows.
        batch: Windows per step.
    """

    sharing: str = "sfg"
    tasks: int = 2
    width: float = 1.0
    spatial_rank: int = 2
    window: int = 128
    batch: int = 10

    @property
    def key(self) -> str:
        """Its name in the JSON file."""
        shape = " x ".join([str(self.window)] * self.spatial_rank)
        return f"{self.sharing}, {self.tasks} tasks, width {self.width:g}, {shape}, batch {self.batch}"

    @property
    def features(self) -> float:
        """Numbers in one layer's features, up to a factor: voxels, filters and streams."""
        streams = self.tasks + 1 if self.sharing == "sfg" else 1
        return self.batch * self.window**self.spatial_rank * self.width * streams


@dataclass(frozen=True)
class Panel:
    """What is varied.

    Attributes:
        variable: Attribute of a point.
        label: Name of the axis.
        curves: Points by sharing mechanism, from small to large.
    """

    variable: str
    label: str
    curves: Mapping[str, Sequence[Point]]


def plan(quick: bool) -> list[Panel]:
    """Returns what is measured, from left to right in the figure."""
    base = Point(window=24, batch=2, width=0.25) if quick else Point()
    volume = replace(base, spatial_rank=3, batch=1)
    widths = (0.125, 0.25) if quick else (0.5, 1.0, 2.0)
    planes, volumes = ((16, 24), (8, 12)) if quick else ((64, 128, 200, 288), (32, 48, 64, 96))
    sharings = ("sfg", "hard_sharing") if quick else ("sfg", "hard_sharing", "single_task")

    def over_windows(start: Point, windows: Sequence[int]) -> dict[str, list[Point]]:
        return {name: [replace(start, sharing=name, window=window) for window in windows] for name in sharings}

    return [
        Panel("width", "width (factor on filters)", {"sfg": [replace(base, width=width) for width in widths]}),
        Panel("tasks", "tasks", {"sfg": [replace(base, tasks=tasks) for tasks in range(1, 3 if quick else 5)]}),
        Panel("window", f"side of 2-D windows, batch {base.batch}", over_windows(base, planes)),
        Panel("window", f"side of 3-D windows, batch {volume.batch}", over_windows(volume, volumes)),
    ]


def measure(point: Point, threads: int, seconds: float) -> dict[str, Any]:
    """Measures a point in this process: median seconds of a step, and what memory training took at its peak."""
    import tensorflow as tf

    from sfgkeras.applications.workers.strategies import build_strategy
    from sfgkeras.networks import count_multiplies, count_parameters

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    before = memory_of().private
    network = build_network(point.tasks, point.sharing, point.spatial_rank, point.width)
    window = (point.window,) * point.spatial_rank
    step, _ = build_step(network, build_strategy("one_device"), point.batch)
    batch = random_batch(point.tasks, point.batch, window)

    def timed_step() -> float:
        began = time.perf_counter()
        float(step(batch)["loss"])
        return time.perf_counter() - began

    timed_step()  # which is traced and optimised first
    times = [timed_step()]
    while times[0] < SLOW and _goes_on(times, seconds):
        times.append(timed_step())
    after = memory_of()
    mapped = after.resident - after.private
    return {
        **asdict(point),
        "seconds": median(times),
        "steps": len(times),
        "gib": (after.peak - mapped - before) / 2**30,
        "multiplies": point.batch * count_multiplies(network, (*window, 1)),
        "parameters": count_parameters(network),
        "load": os.getloadavg()[0],
    }


def _goes_on(times: Sequence[float], seconds: float) -> bool:
    return len(times) < FEWEST_STEPS or (len(times) < MOST_STEPS and sum(times) < seconds)


def _in_process(point: Point, threads: int, seconds: float) -> dict[str, Any]:
    """Measures a point in a process of its own, the first to be ended where memory runs out."""
    arguments = {"point": asdict(point), "threads": threads, "seconds": seconds}
    command = [sys.executable, __file__, "--measure", json.dumps(arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def reason_to_skip(point: Point, found: Found, limit_gib: float) -> str | None:
    """Returns why a point is not measured, estimated from the largest smaller one of its kind; None if it is."""
    kind = (point.sharing, point.spatial_rank)
    known = [row for row in found.values() if "gib" in row and (row["sharing"], row["spatial_rank"]) == kind]
    if not known:
        return None
    nearest = max(known, key=lambda row: row["gib"])
    smaller = Point(**{name: nearest[name] for name in asdict(point)})
    growth = point.features / smaller.features
    gib, seconds = nearest["gib"] * growth, nearest["seconds"] * growth * point.width / smaller.width
    if gib > limit_gib:
        return f"needs about {gib:.0f} GiB of {limit_gib:.0f}"
    return f"a step takes about {seconds:.0f} s" if seconds > SLOWEST else None


def _available_gib() -> float:
    lines = Path("/proc/meminfo").read_text().splitlines()
    return SAFETY * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) / 2**20


def markdown(panels: Sequence[Panel], found: Found, machine: str) -> str:
    """Returns the table: every point once, in the order of the plan."""
    lines = [
        "| sharing | tasks | width | windows | parameters | multiplies (G) | s / step | GFLOP/s | GiB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for point in _points(panels):
        row = found.get(point.key, {"skipped": "not measured"})
        windows = f"{point.batch} of " + " x ".join([str(point.window)] * point.spatial_rank)
        start = f"| {point.sharing} | {point.tasks} | {point.width:g} | {windows} |"
        if "skipped" in row:
            lines.append(f"{start} - | - | {row['skipped']} | - | - |")
            continue
        # Backward passes multiply twice as often as forward ones; a multiply comes with an addition.
        rate = 6e-9 * row["multiplies"] / row["seconds"]
        lines.append(
            f"{start} {row['parameters']:,} | {row['multiplies'] / 1e9:.1f} | {row['seconds']:.3g} | {rate:.0f} | "
            f"{row['gib']:.2f} |"
        )
    note = "Multiplies of the forward pass of one batch; GFLOP/s counts forward and backward (three times as many)."
    return "\n".join([*lines, "", note, machine, ""])


def _points(panels: Sequence[Panel]) -> list[Point]:
    return list(dict.fromkeys(point for panel in panels for points in panel.curves.values() for point in points))


def draw(panels: Sequence[Panel], found: Found, path: Path) -> None:
    """Draws seconds and memory over everything that is varied, with what they would be if they were proportional."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(13, 6.4), dpi=130, layout="constrained")
    axes = figure.subplots(2, len(panels), sharey="row", sharex="col", squeeze=False)
    for column, panel in enumerate(panels):
        for row, (quantity, proportional) in enumerate((("seconds", "multiplies"), ("gib", "features"))):
            _draw_panel(axes[row, column], panel, found, quantity, proportional)
        axes[1, column].set_xlabel(panel.label)
    axes[0, 0].set_ylabel("seconds per training step")
    axes[1, 0].set_ylabel("peak memory of training (GiB)")
    handles = {text: line for axis in axes.flat for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    dotted = "in proportion to multiplies (above), to voxels x filters x streams (below)"
    handles[dotted] = Line2D([], [], color="#666666", linestyle=":")
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=len(handles), frameon=False)
    figure.savefig(path)


COLOURS = {"sfg": "#0072B2", "hard_sharing": "#E69F00", "single_task": "#009E73"}
MARKERS = {"sfg": "o", "hard_sharing": "s", "single_task": "^"}


def _draw_panel(axis: Any, panel: Panel, found: Found, quantity: str, proportional: str) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

    axis.set_yscale("log")
    if panel.variable != "tasks":
        axis.set_xscale("log", base=2)
    ticks = sorted({getattr(point, panel.variable) for points in panel.curves.values() for point in points})
    for sharing, points in panel.curves.items():
        known = [point for point in points if "seconds" in found.get(point.key, {})]
        if not known:
            continue
        x = [getattr(point, panel.variable) for point in known]
        y = [found[point.key][quantity] for point in known]
        axis.plot(x, y, color=COLOURS[sharing], marker=MARKERS[sharing], markersize=5, label=sharing.replace("_", " "))
        sizes = [point.features if proportional == "features" else found[point.key]["multiplies"] for point in known]
        # Through the middle point: where the curve is steeper or flatter shows on both sides.
        middle = (len(known) - 1) // 2
        scaled = [y[middle] * size / sizes[middle] for size in sizes]
        axis.plot(x, scaled, color=COLOURS[sharing], linestyle=":", linewidth=1.2)
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.xaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(alpha=0.3, which="major")
    axis.spines[["top", "right"]].set_visible(False)


def run(panels: Sequence[Panel], output: Path, threads: int, seconds: float, memory_gib: float | None) -> Found:
    """Measures what cost.json does not hold yet; writes all three files after every point."""
    path = output / "cost.json"
    found: Found = json.loads(path.read_text())["points"] if path.is_file() else {}
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads, float32, TensorFlow on the CPU."
    # Small points first: they tell what the large ones need.
    for point in sorted(_points(panels), key=lambda point: point.features):
        if "seconds" in found.get(point.key, {}):
            continue
        why = reason_to_skip(point, found, memory_gib or _available_gib())
        try:
            found[point.key] = {"skipped": why} if why else _in_process(point, threads, seconds)
        except RuntimeError as error:
            found[point.key] = {"skipped": f"failed: {error}"}
        row = found[point.key]
        print(point.key, row.get("skipped") or f"{row['seconds']:.3g} s, {row['gib']:.2f} GiB", flush=True)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"machine": machine, "points": found}, indent=1) + "\n")
        os.replace(temporary, path)
    (output / "cost.md").write_text(markdown(panels, found, machine))
    draw(panels, found, output / "cost.png")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, and writes table and figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=3.0, help="of measured steps per point, about")
    parser.add_argument("--memory", type=float, help="GiB that a point may take; default: 0.9 of what is available")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        given = json.loads(options.measure)
        Path("/proc/self/oom_score_adj").write_text("1000")
        print(json.dumps(measure(Point(**given["point"]), given["threads"], given["seconds"])))
        return 0
    output = options.output or Path(tempfile.mkdtemp(prefix="cost_"))
    output.mkdir(parents=True, exist_ok=True)
    found = run(plan(options.quick), output, options.threads, options.seconds, options.memory)
    print(f"written to {output}")
    return 1 if any("failed" in row.get("skipped", "") for row in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
