"""Compares networks over seeds: means, deviations and paired tests against the best baseline."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfgkeras.analysis.measures import EVALUATIONS, NAN
from sfgkeras.analysis.tables import spread_text, with_unit

MEAN_LABEL = "mean"
LEAST_SEEDS, LEAST_SUBJECTS = 3, 6
HEADLINES = ("mae", "psnr", "dice", "accuracy")
_NAMES = {"dice": "Dice", "jaccard": "IoU", "box_iou": "IoU", "box_giou": "GIoU"}
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
        num_missed: For a mean over labels: how many of them this network missed.
        unit: Unit of the value; empty where it has none.
    """

    network: str
    seed: int
    task: str
    group: str
    measure: str
    value: float
    subject_id: str = ""
    num_missed: int = 0
    unit: str = ""

    @property
    def quantity(self) -> Quantity:
        """What was measured."""
        return self.task, self.group, self.measure


def add_label_means(scores: Iterable[Score]) -> list[Score]:
    """Adds, for every subject of a segmentation, the mean of each measure over its labels where there are several.

    A label counts for all networks or for none: the mean of a subject and seed is over those labels that every network
    has a finite value for, so that nobody's mean is over the easier labels. What a network missed is counted in
    `num_missed`.
    """
    scores = list(scores)
    cases: dict[tuple[Any, ...], dict[str, dict[str, float]]] = {}
    for score in scores:
        if EVALUATIONS[score.measure].kind == "segmentation":
            key = (score.task, score.measure, score.seed, score.subject_id)
            cases.setdefault(key, {}).setdefault(score.network, {})[score.group] = score.value
    means = []
    for (task, measure, seed, subject), by_network in cases.items():
        common = _common(by_network)
        for network, values in by_network.items():
            if len(values) > 1:
                mean = float(np.mean([values[label] for label in common])) if common else NAN
                missed = len(_missed(network, by_network, measure))
                means.append(
                    Score(network, seed, task, MEAN_LABEL, measure, mean, subject, missed, EVALUATIONS[measure].unit)
                )
    return scores + means


def _common(by_network: Mapping[str, Mapping[Any, float]]) -> list[Any]:
    """Returns the cases that every network has a finite value for, in order; all of a network's where none meet."""
    shared = set.intersection(*(set(values) for values in by_network.values()))
    if not shared:  # e.g. files with subjects of their own: there is nothing to pair
        return sorted({case for values in by_network.values() for case, value in values.items() if np.isfinite(value)})
    return sorted(case for case in shared if all(np.isfinite(values[case]) for values in by_network.values()))


def _missed(network: str, by_network: Mapping[str, Mapping[Any, float]], measure: str) -> list[Any]:
    """Returns the cases that a network failed: an infinite error, or no value where another network has one.

    What is undefined for all, such as the distance to an organ that a subject has not, is nobody's failure; nor is an
    infinite value of a measure that is better the larger it is, such as the PSNR of a perfect prediction.
    """
    higher = EVALUATIONS[measure].higher_is_better

    def is_failure(case: Any, value: float) -> bool:
        if np.isfinite(value):
            return False
        if np.isinf(value):
            return not higher
        return any(np.isfinite(values.get(case, NAN)) for values in by_network.values())

    return [case for case, value in by_network[network].items() if is_failure(case, value)]


def compare_scores(scores: Iterable[Score], candidates: Collection[str] = ("sfg",)) -> list[dict[str, Any]]:
    """Summarises each quantity of each network and tests it against the best baseline.

    All networks are compared on the same seeds and subjects: those that every one of them has a finite value for. A
    network that misses an organ is thus not scored on its easier subjects; how often it did is in `n_missed`, and only
    a network that missed no more than any other can be the best.

    Two tests are made, because two things vary. Over seeds: Student's t for pairs of runs with equal seeds, from
    3 seeds on; it asks whether training anew would favour the network again. Over subjects: Wilcoxon's signed-rank
    test of the subjects' means over seeds, from 6 subjects on; it asks whether other subjects would. Neither is
    corrected for the number of comparisons.

    Args:
        scores: All scores; every network should have the same seeds and subjects.
        candidates: Networks that are no baselines, unless there are no others.

    Returns:
        A row per quantity and network: `network`, `task`, `region` or `label` (the other one is empty; `MEAN_LABEL`
        for the mean over labels), `measure`, `unit`, `mean` and `std` over seeds, `n` (values that the mean is of),
        `seeds`, `subjects`, `n_missed` (values that the network should have and has not), `baseline` (the best one),
        `p_seeds`, `p_subjects` (None where they cannot be had) and `is_best`.
    """
    scores = list(scores)
    rows = []
    for quantity, by_network in _by_quantity(scores).items():
        if quantity[1] == MEAN_LABEL:
            of_labels = [score for score in scores if score.quantity == quantity]
            missed = {name: sum(s.num_missed for s in of_labels if s.network == name) for name in by_network}
        else:
            missed = {name: len(_missed(name, by_network, quantity[2])) for name in by_network}
        rows += _compare_quantity(quantity, by_network, missed, candidates, _units(scores)[quantity])
    return rows


def quantity_of(row: Mapping[str, Any]) -> Quantity:
    """Returns what a row of `compare_scores` is about."""
    return row["task"], row["label"] or row["region"], row["measure"]


def _units(scores: Iterable[Score]) -> dict[Quantity, str]:
    return {score.quantity: score.unit for score in scores}


def _by_quantity(scores: Iterable[Score]) -> dict[Quantity, dict[str, dict[tuple[int, str], float]]]:
    """Returns all values, finite or not, by quantity, network, and seed and subject."""
    tables: dict[Quantity, dict[str, dict[tuple[int, str], float]]] = {}
    for score in scores:
        tables.setdefault(score.quantity, {}).setdefault(score.network, {})[score.seed, score.subject_id] = score.value
    return tables


def _compare_quantity(
    quantity: Quantity,
    by_network: Mapping[str, Mapping[tuple[int, str], float]],
    missed: Mapping[str, int],
    candidates: Collection[str],
    unit: str,
) -> list[dict[str, Any]]:
    """Returns the rows of one quantity, a network each."""
    task, group, measure = quantity
    has_labels = EVALUATIONS[measure].kind == "segmentation"
    common = set(_common(by_network))
    values = {name: {case: v for case, v in own.items() if case in common} for name, own in by_network.items()}
    seeds = {name: _by(own, 0) for name, own in values.items()}
    subjects = {name: _by(own, 1) for name, own in values.items()}
    means = {name: float(np.mean(list(own.values()))) if own else NAN for name, own in seeds.items()}
    if all(np.isnan(mean) for mean in means.values()) and not any(missed.values()):
        return []  # undefined for everybody
    best, baseline = (_best(measure, means, missed, left_out) for left_out in ((), candidates))
    rows = []
    for name, mean in means.items():
        of_seeds = list(seeds[name].values())
        other = None if baseline in (None, name) else baseline
        rows.append(
            {
                "network": name,
                "task": task,
                "region": "" if has_labels else group,
                "label": group if has_labels else "",
                "measure": measure,
                "unit": unit,
                "mean": mean,
                "std": float(np.std(of_seeds, ddof=1)) if len(of_seeds) > 1 else NAN,
                "n": len(values[name]),
                "seeds": len(of_seeds),
                "subjects": len(subjects[name].keys() - {""}),
                "n_missed": missed[name],
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


def _best(measure: str, means: Mapping[str, float], missed: Mapping[str, int], left_out: Collection[str]) -> str | None:
    """Returns the network with the best mean, of those that missed the fewest values; None where nothing is better."""
    higher = EVALUATIONS[measure].higher_is_better
    names = [name for name in means if name not in left_out] or list(means)
    fewest = min(missed[name] for name in names)
    names = [name for name in names if missed[name] == fewest and np.isfinite(means[name])]
    if higher is None or not names:
        return None
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


def headlines(rows: Sequence[Mapping[str, Any]], measures: Collection[str] = HEADLINES) -> list[Quantity]:
    """Returns the quantities of some measures; by default the paper's: MAE, PSNR, Dice, accuracy."""
    found = dict.fromkeys(quantity_of(row) for row in rows)
    return [quantity for quantity in found if quantity[2] in measures]


def quantity_name(quantity: Quantity, unit: str = "") -> str:
    """Returns a column's heading, with its unit and an arrow towards the better values."""
    task, group, measure = quantity
    higher = EVALUATIONS[measure].higher_is_better
    arrow = "" if higher is None else " ↑" if higher else " ↓"
    name = _NAMES.get(measure) or (measure.upper() if len(measure) < 6 else measure.replace("_", " "))
    return f"{task}{'' if group == 'all' else f' {group}'} {with_unit(name, unit)}{arrow}"


def main_table(
    rows: Sequence[Mapping[str, Any]],
    costs: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    measures: Collection[str] = HEADLINES,
) -> list[dict[str, Any]]:
    """Lays out one line per network: quantities as `mean ± std`, then what it costs.

    A star marks p < 0.05 over seeds against the best baseline, a plus p < 0.05 over subjects.

    Args:
        rows: What `compare_scores` returns.
        costs: Columns at the end, by network.
        settings: Columns after the network's name, by network.
        measures: Which measures are shown.
    """
    cells = {(row["network"], quantity_of(row)): row for row in rows}
    quantities = headlines(rows, measures)
    units = {quantity_of(row): row["unit"] for row in rows}
    lines = []
    for name in dict.fromkeys(row["network"] for row in rows):
        line: dict[str, Any] = {"network": name, **(settings or {}).get(name, {})}
        for quantity in quantities:
            row = cells.get((name, quantity))
            line[quantity_name(quantity, units[quantity])] = "-" if row is None else cell(row)
        lines.append(line | dict(costs.get(name, {})))
    return lines


def number_table(
    rows: Sequence[Mapping[str, Any]],
    costs: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, Mapping[str, Any]],
    measures: Collection[str],
) -> list[dict[str, Any]]:
    """Lays out `main_table` as numbers, `TASK LABEL MEASURE` and `... std`; None for what a network has not."""
    cells = {(row["network"], quantity_of(row)): row for row in rows}
    lines = []
    for name in dict.fromkeys(row["network"] for row in rows):
        line: dict[str, Any] = {"network": name, **settings.get(name, {})}
        for task, group, measure in headlines(rows, measures):
            row = cells.get((name, (task, group, measure)))
            heading = f"{task}{'' if group == 'all' else f' {group}'} {measure}"
            line |= {heading: row and row["mean"], f"{heading} std": row and row["std"]}
        lines.append(line | dict(costs.get(name, {})))
    return lines


def cell(row: Mapping[str, Any]) -> str:
    """Returns one value as text; the deviation decides how many digits are shown, the best is marked."""
    star = "*" if row["p_seeds"] is not None and row["p_seeds"] < 0.05 else ""
    plus = "+" if row["p_subjects"] is not None and row["p_subjects"] < 0.05 else ""
    text = spread_text(row["mean"], row["std"])
    missed = f" ({row['n_missed']} missed)" if row["n_missed"] else ""
    return f"{text}{star}{plus}{missed}{' (best)' if row['is_best'] else ''}"


def markdown_table(lines: Sequence[Mapping[str, Any]]) -> str:
    """Returns lines as a Markdown table; what is best is bold."""
    columns = list(dict.fromkeys(name for line in lines for name in line))

    def text(value: Any) -> str:
        shown = f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)
        return f"**{shown.removesuffix(' (best)')}**" if shown.endswith(" (best)") else shown

    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return head + "".join(f"| {' | '.join(text(line.get(name, '-')) for name in columns)} |\n" for line in lines)


def comparison_figure(scores: Sequence[Score], title: str, measures: Collection[str] = HEADLINES) -> Any:
    """Draws every run as a point, a panel per quantity of some measures; returns a matplotlib figure without a window.

    As in `compare_scores`, a point is the mean over what all networks have a value for.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from sfgkeras.analysis.style import SHARED_COLOUR, TRAINING_COLOUR

    tables = {quantity: values for quantity, values in _by_quantity(scores).items() if quantity[2] in measures}
    units = _units(scores)
    networks = list(dict.fromkeys(score.network for score in scores))
    columns = min(3, max(1, len(tables)))
    num_rows = -(-len(tables) // columns)
    figure = Figure(figsize=(4.2 * columns, (1.1 + 0.32 * len(networks)) * num_rows + 0.5), layout="constrained")
    figure.suptitle(title)
    for place, (quantity, by_network) in enumerate(tables.items(), start=1):
        axes = figure.add_subplot(num_rows, columns, place)
        common = set(_common(by_network))
        for height, name in enumerate(networks):
            own = {case: value for case, value in by_network.get(name, {}).items() if case in common}
            values = list(_by(own, 0).values())
            axes.scatter(values, [height] * len(values), s=18, color=TRAINING_COLOUR, alpha=0.6, linewidths=0, zorder=3)
            if values:
                axes.vlines(np.mean(values), height - 0.3, height + 0.3, color="black", linewidth=2, zorder=4)
        axes.set_yticks(range(len(networks)), networks if (place - 1) % columns == 0 else [""] * len(networks))
        axes.set_ylim(len(networks) - 0.4, -0.6)
        axes.set_title(quantity_name(quantity, units[quantity]), fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="x", color=SHARED_COLOUR, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
