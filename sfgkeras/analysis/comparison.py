"""Compares networks over seeds: means, deviations and paired tests against the best baseline."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfgkeras.analysis.measures import EVALUATIONS

MEAN_LABEL = "mean of labels"
LEAST_SEEDS, LEAST_SUBJECTS = 3, 6
HEADLINES = ("mae", "psnr", "dice", "accuracy")
Quantity = tuple[str, str, str]


@dataclass(frozen=True)
class Score:
    """One measured value.

    Attributes:
        network: What was trained; scores of one name differ by seed only.
        seed: Seed of weights, masks and windows.
        task: Name of the task.
        group: Region or label; `all` where there is none.
        measure: A key of `EVALUATIONS`.
        value: The value; not finite where it is undefined.
        subject_id: The subject measured; empty for a value over all subjects.
    """

    network: str
    seed: int
    task: str
    group: str
    measure: str
    value: float
    subject_id: str = ""

    @property
    def quantity(self) -> Quantity:
        """What was measured."""
        return self.task, self.group, self.measure


def add_label_means(scores: Iterable[Score]) -> list[Score]:
    """Adds, for every subject of a segmentation, the mean of each measure over its labels where there are several."""
    scores = list(scores)
    labels: dict[tuple[Any, ...], list[float]] = {}
    for score in scores:
        if EVALUATIONS[score.measure].kind == "segmentation":
            key = (score.network, score.seed, score.task, MEAN_LABEL, score.measure, score.subject_id)
            labels.setdefault(key, []).append(score.value)
    means = []
    for (network, seed, task, group, measure, subject), values in labels.items():
        finite = [value for value in values if np.isfinite(value)]
        if len(values) > 1:
            mean = float(np.mean(finite)) if finite else float("nan")
            means.append(Score(network, seed, task, group, measure, mean, subject))
    return scores + means


def compare_scores(scores: Iterable[Score], candidates: Collection[str] = ("sfg",)) -> list[dict[str, Any]]:
    """Summarises each quantity of each network and tests it against the best baseline.

    Two tests are made, because two things vary. Over seeds: Student's t for pairs of runs with equal seeds, from
    3 seeds on; it asks whether training anew would favour the network again. Over subjects: Wilcoxon's signed-rank
    test of the subjects' means over seeds, from 6 subjects on; it asks whether other subjects would. Neither is
    corrected for the number of comparisons.

    Args:
        scores: All scores; every network should have the same seeds and subjects.
        candidates: Networks that are no baselines, unless there are no others.

    Returns:
        A row per quantity and network: `task`, `group`, `measure`, `network`, `mean` and `std` over seeds,
        `seeds`, `subjects`, `baseline` (the best one), `p_seeds`, `p_subjects` (None where they cannot be had) and
        `is_best`.
    """
    tables: dict[Quantity, dict[str, dict[tuple[int, str], float]]] = {}
    for score in scores:
        if np.isfinite(score.value):
            networks = tables.setdefault(score.quantity, {})
            networks.setdefault(score.network, {})[score.seed, score.subject_id] = score.value
    rows = []
    for quantity, networks in tables.items():
        seeds = {name: _by(values, 0) for name, values in networks.items()}
        subjects = {name: _by(values, 1) for name, values in networks.items()}
        means = {name: float(np.mean(list(values.values()))) for name, values in seeds.items()}
        best, baseline = _best(quantity[2], means, ()), _best(quantity[2], means, candidates)
        for name, mean in means.items():
            values = list(seeds[name].values())
            other = None if baseline in (None, name) else baseline
            rows.append(
                {
                    **dict(zip(("task", "group", "measure"), quantity, strict=True)),
                    "network": name,
                    "mean": mean,
                    "std": float(np.std(values, ddof=1)) if len(values) > 1 else float("nan"),
                    "seeds": len(values),
                    "subjects": len(subjects[name].keys() - {""}),
                    "baseline": baseline,
                    "p_seeds": None if other is None else paired_t(seeds[name], seeds[other]),
                    "p_subjects": None if other is None else signed_rank(subjects[name], subjects[other]),
                    "is_best": name == best,
                }
            )
    return rows


def _by(values: Mapping[tuple[int, str], float], place: int) -> dict[Any, float]:
    """Averages over all but the seed (0) or the subject (1)."""
    found: dict[Any, list[float]] = {}
    for key, value in values.items():
        found.setdefault(key[place], []).append(value)
    return {key: float(np.mean(members)) for key, members in found.items()}


def _best(measure: str, means: Mapping[str, float], left_out: Collection[str]) -> str | None:
    higher = EVALUATIONS[measure].higher_is_better
    if higher is None:
        return None
    names = [name for name in means if name not in left_out] or list(means)
    return (max if higher else min)(names, key=lambda name: means[name])


def _pairs(first: Mapping[Any, float], second: Mapping[Any, float]) -> np.ndarray:
    """Returns the differences of what both have, `(pairs,)`."""
    return np.array([first[key] - second[key] for key in sorted(first.keys() & second.keys())])


def paired_t(first: Mapping[int, float], second: Mapping[int, float]) -> float | None:
    """Returns the two-sided p of Student's t for paired seeds; None for fewer than 3."""
    from scipy.stats import ttest_1samp

    differences = _pairs(first, second)
    if differences.size < LEAST_SEEDS:
        return None
    if np.ptp(differences) == 0:
        return 1.0 if differences[0] == 0 else 0.0
    return float(ttest_1samp(differences, 0.0).pvalue)


def signed_rank(first: Mapping[str, float], second: Mapping[str, float]) -> float | None:
    """Returns the two-sided p of Wilcoxon's test for paired subjects; None for fewer than 6."""
    from scipy.stats import wilcoxon

    differences = _pairs(first, second)
    if differences.size < LEAST_SUBJECTS:
        return None
    return float(wilcoxon(differences).pvalue) if differences.any() else 1.0


def headlines(rows: Sequence[Mapping[str, Any]]) -> list[Quantity]:
    """Returns the quantities of the paper's tables: MAE and PSNR by region, Dice by label, accuracy."""
    found = dict.fromkeys((row["task"], row["group"], row["measure"]) for row in rows)
    return [quantity for quantity in found if quantity[2] in HEADLINES]


def quantity_name(quantity: Quantity) -> str:
    """Returns a column's heading, with an arrow towards the better values."""
    task, group, measure = quantity
    higher = EVALUATIONS[measure].higher_is_better
    arrow = "" if higher is None else " ↑" if higher else " ↓"
    return f"{task}{'' if group == 'all' else f' {group}'} {measure.upper() if measure != 'dice' else 'Dice'}{arrow}"


def main_table(rows: Sequence[Mapping[str, Any]], costs: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lays out one line per network: headline quantities as `mean ± std`, then what it costs.

    A star marks p < 0.05 over seeds against the best baseline, a plus p < 0.05 over subjects.
    """
    cells = {(row["network"], (row["task"], row["group"], row["measure"])): row for row in rows}
    quantities = headlines(rows)
    lines = []
    for name in dict.fromkeys(row["network"] for row in rows):
        line: dict[str, Any] = {"network": name}
        for quantity in quantities:
            row = cells.get((name, quantity))
            line[quantity_name(quantity)] = "-" if row is None else cell(row)
        lines.append(line | dict(costs.get(name, {})))
    return lines


def cell(row: Mapping[str, Any]) -> str:
    """Returns one value as text; the deviation decides how many digits are shown, the best is marked."""
    mean, std = row["mean"], row["std"]
    digits = 3
    if np.isfinite(std) and std > 0:
        digits = int(np.clip(1 - np.floor(np.log10(std)), 0, 4))
    elif mean:
        digits = int(np.clip(2 - np.floor(np.log10(abs(mean))), 0, 4))
    text = f"{mean:.{digits}f}" + (f" ± {std:.{digits}f}" if np.isfinite(std) else "")
    star = "*" if row["p_seeds"] is not None and row["p_seeds"] < 0.05 else ""
    plus = "+" if row["p_subjects"] is not None and row["p_subjects"] < 0.05 else ""
    return f"{text}{star}{plus}{' (best)' if row['is_best'] else ''}"


def markdown_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns lines as a Markdown table; what is best is bold."""
    columns = list(dict.fromkeys(name for line in lines for name in line))

    def text(value: Any) -> str:
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
        return f"**{shown.removesuffix(' (best)')}**" if shown.endswith(" (best)") else shown

    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"| {' | '.join(text(line.get(name, '-')) for name in columns)} |\n" for line in lines)


def comparison_figure(scores: Sequence[Score], title: str) -> Any:
    """Draws every run as a point, a panel per headline quantity; returns a matplotlib figure without a window."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from sfgkeras.analysis.style import SHARED_COLOUR, TRAINING_COLOUR

    tables: dict[Quantity, dict[str, dict[int, list[float]]]] = {}
    for score in scores:
        if score.measure in HEADLINES and np.isfinite(score.value):
            seeds = tables.setdefault(score.quantity, {}).setdefault(score.network, {})
            seeds.setdefault(score.seed, []).append(score.value)
    networks = list(dict.fromkeys(score.network for score in scores))
    columns = min(3, max(1, len(tables)))
    num_rows = -(-len(tables) // columns)
    figure = Figure(figsize=(4.2 * columns, (1.1 + 0.32 * len(networks)) * num_rows + 0.5), layout="constrained")
    figure.suptitle(title)
    for place, (quantity, by_network) in enumerate(tables.items(), start=1):
        axes = figure.add_subplot(num_rows, columns, place)
        for height, name in enumerate(networks):
            values = [float(np.mean(members)) for members in by_network.get(name, {}).values()]
            axes.scatter(values, [height] * len(values), s=18, color=TRAINING_COLOUR, alpha=0.6, linewidths=0, zorder=3)
            if values:
                axes.vlines(np.mean(values), height - 0.3, height + 0.3, color="black", linewidth=2, zorder=4)
        axes.set_yticks(range(len(networks)), networks if (place - 1) % columns == 0 else [""] * len(networks))
        axes.set_ylim(len(networks) - 0.4, -0.6)
        axes.set_title(quantity_name(quantity), fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", color=SHARED_COLOUR, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
