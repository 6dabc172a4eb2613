"""Every goal of speed in one table: ours, the peer, the ratio, the goal.

    python benchmarks/goals.py [--quick] [--only TEXT] [--threads 2] [--repeats 7] [--output FOLDER]

Each row runs in a process of its own, so that thread pools do not meet; within a row ours and the peer run in turn, and
medians are compared. Peers come with `pip install ".[benchmark]"`; a row whose peer is missing says so. `--quick` ends
within minutes and uses small sizes: it shows that all works, its ratios are rough. A row that is measured while other
programs use more than a tenth of the processors is called not comparable. Writes goals.json and goals.md.
"""

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import goals_data as data
import goals_groups as groups
import goals_machine as machine
import goals_networks as networks
import goals_schedule as schedule
import goals_training as training
import goals_unet as unet
from goals_timing import Settings, ratio


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        what: What is measured, against what.
        unit: Unit of `value`: `ratio` of seconds, `s`, or `windows/s`.
        goal: What `value` should reach.
        measure: Returns `value`, and `ours` and `peer` where there are two; or one number.
        higher_is_better: Which side of the goal is met.
    """

    what: str
    unit: str
    goal: float
    measure: Callable[[Settings], Any]
    higher_is_better: bool = False

    def is_met(self, value: float) -> bool:
        """Says whether a value reaches the goal."""
        return value >= self.goal if self.higher_is_better else value <= self.goal


def memory_ratio(settings: Settings, name: str = "sfg") -> dict[str, float]:
    """Peak memory of training, filter groups for two tasks against the plain network; a process each."""
    ours, peer = (_in_process(f"memory:{each}", settings) for each in (name, "hard_sharing"))
    return {"ours": ours, "peer": peer, "value": ours / peer}


def small_memory_ratio(settings: Settings) -> dict[str, float]:
    """The same where filter groups make activations again in place of keeping them."""
    return memory_ratio(settings, "sfg+")


def settled_memory_ratio(settings: Settings) -> dict[str, float]:
    """The same once groups are fixed, as after the search of `schedule = auto`."""
    return memory_ratio(settings, networks.SETTLED)


def hardened_against_single(settings: Settings) -> dict[str, float]:
    """Inference of the hardened network against the plain one."""
    return ratio(_in_process("hardened", settings), "hardened", "single")


def hardened_against_masked(settings: Settings) -> dict[str, float]:
    """Inference of the hardened network against the masked one."""
    return ratio(_in_process("hardened", settings), "hardened", "masked")


SEVERAL_PROCESSES = (
    memory_ratio,
    small_memory_ratio,
    settled_memory_ratio,
    hardened_against_single,
    hardened_against_masked,
)
"""Measured by processes that they start, or share with other rows."""

ROWS = (
    Row("training step, single: ours / stock Keras layers", "ratio", 0.75, networks.single_against_stock),
    Row("training step, single: ours / PyTorch eager, channels last", "ratio", 0.60, networks.single_against_pytorch),
    Row("training step, SFG of two tasks / our single", "ratio", 2.9, networks.sfg_against_single),
    Row("whole run of schedule = auto / our single, equal steps", "ratio", 2.0, schedule.search_against_hard_sharing),
    Row("peak memory of training, SFG / our single", "ratio", 1.8, memory_ratio),
    Row("training step, SFG that makes activations again / single", "ratio", 2.9, networks.small_sfg_against_single),
    Row("peak memory, SFG that makes activations again / single", "ratio", 1.8, small_memory_ratio),
    Row("peak memory, settled groups (multiples of 8) / our single", "ratio", 1.1, settled_memory_ratio),
    Row("training step, bfloat16 / our float32", "ratio", 0.60, networks.bfloat16_against_float32),
    Row("inference, hardened (thirds) / our single", "ratio", 0.60, hardened_against_single),
    Row("inference, hardened / masked", "ratio", 0.22, hardened_against_masked),
    Row("time by multiplies, hardened (multiples of 8) / our single", "ratio", 1.1, groups.time_by_multiplies_in_keras),
    Row(
        "time by multiplies, hardened (multiples of 8) / our single, onnxruntime",
        "ratio",
        1.1,
        groups.time_by_multiplies_in_onnxruntime,
    ),
    Row("whole volume / MONAI SliceInferer", "ratio", 0.40, networks.volume_against_monai),
    Row("training step, U-Net: ours / stock Keras layers", "ratio", 0.75, unet.against_stock),
    Row("training step, U-Net: ours / MONAI's BasicUNet, channels last", "ratio", 0.75, unet.against_monai),
    Row("training step, two workers of one thread / one process of two", "ratio", 1.05, training.two_workers),
    Row("training step, augmented windows as they are made / one fixed batch", "ratio", 1.03, training.real_windows),
    Row("augmented windows of 128 x 128, image and label", "windows/s", 5000, data.windows_per_second, True),
    Row("N4 / ants.n4_bias_field_correction", "ratio", 0.45, data.n4_against_ants),
    Row("Nyul fit / TorchIO", "ratio", 0.25, data.nyul_fit_against_torchio),
    Row("Nyul apply, int16 / TorchIO", "ratio", 0.15, data.nyul_apply_against_torchio),
    Row("cubic resampling to isotropic / SimpleITK", "ratio", 0.10, data.cubic_against_simpleitk),
    Row("reading .nii.gz / nibabel", "ratio", 0.35, data.reading_against_nibabel),
    Row("windows a second from HDF5, gzip / plain h5py loop", "ratio", 1.0, data.hdf5_windows_against_h5py, True),
    Row(
        "windows a second from HDF5, in one piece / plain h5py loop", "ratio", 1.0, data.hdf5_windows_in_one_piece, True
    ),
    Row("sfgkeras --help", "s", 0.3, networks.help_seconds),
)


@functools.cache
def _in_process(name: str, settings: Settings) -> Any:
    """Measures one row in a process of its own, once; returns what it printed last."""
    threads = str(settings.threads)
    limits = dict.fromkeys(("OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"), threads)
    command = [sys.executable, __file__, "--measure", name, "--settings", json.dumps(asdict(settings))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | limits)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise RuntimeError(lines[-1])
    return json.loads(done.stdout.strip().splitlines()[-1])


def measure_row(row: Row, settings: Settings) -> dict[str, Any]:
    """Returns the numbers of one row, or why there are none."""
    try:
        found = row.measure(settings) if row.measure in SEVERAL_PROCESSES else _in_process(row.what, settings)
    except (RuntimeError, ValueError) as error:
        return {"what": row.what, "goal": row.goal, "unit": row.unit, "problem": str(error)}
    found = found if isinstance(found, dict) else {"value": found}
    return {"what": row.what, "goal": row.goal, "unit": row.unit, "met": row.is_met(found["value"]), **found}


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Returns the table."""
    lines = ["| what | ours | peer | value | goal | |", "|---|---|---|---|---|---|"]
    for row in rows:
        if "problem" in row:
            lines.append(f"| {row['what']} | - | - | - | {row['goal']:g} | not measured: {row['problem']} |")
            continue
        ours, peer = (f"{row[name]:.4g}" if name in row else "-" for name in ("ours", "peer"))
        unit = "" if row["unit"] == "ratio" else f" {row['unit']}"
        verdict = "met" if row["met"] else "MISSED"
        if row.get("busy", 0.0) > machine.BUSY:
            verdict += f"; not comparable: {row['busy']:.0%} of the processors were at other work"
        lines.append(
            f"| {row['what']} | {ours} | {peer} | {row['value']:.3g}{unit} | {row['goal']:g}{unit} | {verdict} |"
        )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the rows asked for; returns 1 where a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default="", help="rows whose text holds this")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        settings = Settings(**json.loads(options.settings))
        if options.measure.startswith("memory:"):
            found: Any = networks.peak_memory(settings, options.measure.removeprefix("memory:"))
        elif options.measure == "hardened":
            found = networks.hardening_times(settings)
        else:
            found = next(row for row in ROWS if row.what == options.measure).measure(settings)
        print(json.dumps(found))
        return 0
    settings = Settings(options.threads, options.repeats or (3 if options.quick else 7), options.quick)
    output = options.output or Path(tempfile.mkdtemp(prefix="goals_"))
    output.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    described = machine.describe_machine(settings)
    print(described)
    for row in (row for row in ROWS if options.only in row.what):
        busy = machine.busy_share()
        rows.append({**measure_row(row, settings), "busy": round(busy, 3)})
        print(markdown(rows[-1:]).splitlines()[-1], flush=True)
        (output / "goals.json").write_text(json.dumps({"machine": described, "rows": rows}, indent=1) + "\n")
        (output / "goals.md").write_text(f"{markdown(rows)}\n{described}\n")
    print(f"written to {output}")
    return 0 if options.quick or all(row.get("met") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
