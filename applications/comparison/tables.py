"""The tables, figures and page of a comparison, from the runs that are done."""

import base64
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

import sfgkeras
from sfgkeras.analysis import comparison
from sfgkeras.analysis.epoch_curves import curve_rows, draw_epoch_curves
from sfgkeras.analysis.feature_maps import draw_feature_maps, read_feature_maps
from sfgkeras.analysis.page import table_html
from sfgkeras.analysis.tables import write_csv
from sfgkeras.applications.comparison.curves import read_epoch_curves
from sfgkeras.applications.comparison.plan import PlannedRun
from sfgkeras.applications.comparison.results import CANDIDATE, Result
from sfgkeras.applications.comparison.sharing import read_shared, write_shared
from sfgkeras.applications.records.files import write_text
from sfgkeras.applications.report.facts import page_facts
from sfgkeras.errors import counted
from sfgkeras.files import replacing
from sfgkeras.pages.elements import paragraph, picture_html
from sfgkeras.pages.page import Header, Section, page_html

FEATURES = "features.npz"
Results = Mapping[tuple[str, int], Result]


def mean_costs(results: Results) -> dict[str, dict[str, Any]]:
    """Returns the costs of each network; times are medians over the seeds."""
    found = {}
    for network, runs in _by_network(results).items():
        costs = [result.costs for result in runs]
        median = float(np.median([cost["s / iteration"] for cost in costs]))
        # The allocation, and with it the cost of a network of fixed groups, differs from seed to seed.
        counts = ("parameters", "multiplies in training", "multiplies at inference")
        shown: dict[str, Any] = {name: int(np.median([cost[name] for cost in costs])) for name in counts}
        found[network] = shown | {"s / iteration": float(f"{median:.3g}")}
        chosen = Counter(cost[CANDIDATE] for cost in costs if CANDIDATE in cost)
        if chosen:
            found[network][CANDIDATE] = ", ".join(f"{name} {count}" for name, count in chosen.most_common())
    if any(CANDIDATE in line for line in found.values()):
        found = {network: {CANDIDATE: "-"} | line for network, line in found.items()}
    return found


def mean_settings(results: Results) -> dict[str, dict[str, float | None]]:
    """Returns the weight of every task and the whole epochs of each network, means over the seeds; None for no value.

    Weights are left out where all networks have the same, epochs where they are not known.
    """
    by_network = _by_network(results)
    weights = {name: _means([result.weights for result in runs]) for name, runs in by_network.items()}
    epochs = {name: [int(r.epochs) for r in runs if np.isfinite(r.epochs)] for name, runs in by_network.items()}
    tasks = list(dict.fromkeys(task for own in weights.values() for task in own))
    differ = len({tuple(own.items()) for own in weights.values()}) > 1
    found: dict[str, dict[str, float | None]] = {name: {} for name in by_network}
    for name, line in found.items():
        if differ:
            line |= {f"weight {task}": weights[name].get(task) for task in tasks}
        if any(epochs.values()):
            line["epochs"] = round(float(np.mean(epochs[name])), 1) if epochs[name] else None
    return found


def _means(values: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Averages by name; of equal numbers the mean is that number, whatever is lost in their sum."""
    found = {name: [each[name] for each in values] for name in values[0]}
    return {name: own[0] if len(set(own)) == 1 else float(np.mean(own)) for name, own in found.items()}


def _by_network(results: Results) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for (network, _), result in results.items():
        found.setdefault(network, []).append(result)
    return found


def is_study(plan: Sequence[PlannedRun]) -> bool:
    """Says whether what is compared are rows of `[COMPARE]`."""
    return any(planned.is_row for planned in plan)


def baselines_left_out(plan: Sequence[PlannedRun]) -> Collection[str]:
    """Returns the networks that are no baselines: all but the first row of a study, else the one with filter groups."""
    names = list(dict.fromkeys(planned.network for planned in plan))
    return names[1:] if is_study(plan) else ("sfg",)


def shown_measures(plan: Sequence[PlannedRun]) -> Collection[str]:
    """Returns the measures of the main table: of a study those that the INI file names, else the usual ones."""
    named = [measure for planned in plan for measure in planned.config.evaluation.evaluations]
    return list(dict.fromkeys(named)) if is_study(plan) and named else comparison.HEADLINES


def main_lines(plan: Sequence[PlannedRun], results: Results, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns the main table, a line per network: weights, epochs, measures, costs."""
    settings = {
        name: {key: "-" if value is None else f"{value:.4g}" for key, value in line.items()}
        for name, line in mean_settings(results).items()
    }
    return comparison.main_table(rows, mean_costs(results), settings, shown_measures(plan))


def write_comparison(
    plan: Sequence[PlannedRun], results: Results, output: Path, left_out: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Writes all tables and figures of the runs that are done.

    Files in `output`: `comparison.csv` (every quantity with its tests), `runs.csv` (every run), `table.csv` (numbers),
    `comparison.md` and `comparison.html` (text; one line per network all three), `comparison.png` (a point per run),
    `curves.csv` and `curves.png` (validation scores against epochs), `sharing.csv` and `sharing.png` (which tasks share
    what, stage by stage); `features_1.png` and so on where feature maps were asked for.

    Args:
        plan: All runs.
        results: What is known of them, by network and seed.
        output: The folder.
        left_out: Networks that cannot be had, with the reason.

    Returns:
        The rows of `comparison.csv`.
    """
    scores = comparison.add_label_means(score for result in results.values() for score in result.scores)
    rows = comparison.compare_scores(scores, baselines_left_out(plan))
    lines = main_lines(plan, results, rows)
    write_csv(output / "comparison.csv", rows)
    write_csv(output / "runs.csv", [asdict(score) for score in scores])
    numbers = comparison.number_table(rows, mean_costs(results), mean_settings(results), shown_measures(plan))
    write_csv(output / "table.csv", numbers)
    figure = comparison.comparison_figure(scores, "One point per seed, the bar is their mean", shown_measures(plan))
    _write_figure(output / "comparison.png", figure)
    done = [planned for planned in plan if (planned.network, planned.seed) in results]
    curves = read_epoch_curves(done)
    pictures = ["comparison.png"]
    if curves:
        write_csv(output / "curves.csv", curve_rows(curves))
        _write_figure(output / "curves.png", draw_epoch_curves(curves))
        pictures.append("curves.png")
    pictures += write_shared(read_shared(done), output)
    if (features := read_feature_maps(output / FEATURES)) is not None:
        for number, _ in enumerate(features.slices):
            pictures.append(f"features_{number + 1}.png")
            _write_figure(output / pictures[-1], draw_feature_maps(features, number))
    note = _note(plan, results, rows)
    missing = [f"{name} is not compared: {reason}" for name, reason in (left_out or {}).items()]
    shown = "".join(f"\n![{name.removesuffix('.png')}]({name})\n" for name in pictures)
    notes = "\n\n".join([note, *missing])
    write_text(output / "comparison.md", f"{comparison.markdown_table(lines)}\n{notes}\n{shown}")
    write_text(output / "comparison.html", _page(lines, rows, output, [note, *missing], results, pictures))
    return rows


def _write_figure(path: Path, figure: Any) -> None:
    with replacing(path) as stream:
        figure.savefig(stream, format="png", dpi=150)


def _note(plan: Sequence[PlannedRun], results: Results, rows: Sequence[Mapping[str, Any]]) -> str:
    baseline = (
        f"{plan[0].network}, or the best row where that has no such task" if is_study(plan) else "the best baseline"
    )
    weights = " Weights that are learned are the last ones of the training." if is_study(plan) else ""
    return (
        f"Mean ± standard deviation over {_seeds_text(plan, results, rows)}. Against {baseline}: * p < 0.05 over "
        "seeds (paired t-test, from 3 seeds), + p < 0.05 over subjects (Wilcoxon signed-rank test, from 6 subjects); "
        "not corrected for the number of comparisons. All networks are compared on the subjects for which each of them "
        "has a value; (n missed) counts the values that a network should have and has not, such as the distance to an "
        f"organ that it did not find, and none of those that missed more than others is the best.{weights}"
    )


def _seeds_text(plan: Sequence[PlannedRun], results: Results, rows: Sequence[Mapping[str, Any]]) -> str:
    """Returns how many seeds the means are over; fewer than were trained where networks have not the same."""
    counts = sorted({row["seeds"] for row in rows if row["seeds"]})
    if not counts:
        return "no seed yet"
    text = counted(counts[-1], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    done = _by_network(results)
    runs = {name: len(done[name]) for name in dict.fromkeys(planned.network for planned in plan) if name in done}
    if len(counts) == 1 and set(runs.values()) == set(counts):
        return text
    return f"{text}, those that all networks have values for (runs: {', '.join(f'{n} {c}' for n, c in runs.items())})"


def _page(
    lines: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    output: Path,
    notes: Sequence[str],
    results: Results,
    pictures: Sequence[str],
) -> str:
    sources = {
        name: f"data:image/png;base64,{base64.b64encode((output / name).read_bytes()).decode()}" for name in pictures
    }
    shown = [
        {name: f"{value:,}" if isinstance(value, int) else value for name, value in line.items()} for line in lines
    ]
    sections = [
        Section(
            "summary",
            "Summary",
            Markup("").join(map(paragraph, notes))
            + table_html(shown, "Headline measures and costs, one line per network"),
        ),
        Section(
            "runs",
            "Every run",
            picture_html(sources["comparison.png"], "Scores of every run", "Arrows show what is better.", 900),
        ),
    ]
    if "curves.png" in sources:
        caption = "Thick lines are means over seeds as far as all of them were trained, thin ones single runs."
        picture = picture_html(sources["curves.png"], "Validation scores against epochs", caption, 900)
        sections.append(Section("curves", "While training", picture))
    drawn = [name for name in pictures if name.startswith("sharing")]
    if drawn:
        caption = (
            "How much of what a task uses at a stage the other uses, or trains, too: 0 is an independent network for "
            "each, 1 is hard sharing; means over seeds. Of two tasks the mean of both directions is shown; of more, a "
            "row of a matrix says what a task shares with the task of each column. Every run is in sharing.csv."
        )
        shown_sharing = [picture_html(sources[name], "Which tasks share what", caption, 1000) for name in drawn]
        sections.append(Section("sharing", "Which tasks share what", Markup("").join(shown_sharing)))
    drawn = [name for name in pictures if name.startswith("features")]
    if drawn:
        caption = "Means over the features of every stage, behind its activation; a stage has one scale for all runs."
        shown_maps = [picture_html(sources[name], "Feature maps", caption, 1000) for name in drawn]
        sections.append(Section("features", "Feature maps", Markup("").join(shown_maps)))
    sections.append(
        Section(
            "details",
            "Every quantity",
            paragraph("Tests are against the baseline of each quantity; - where there are too few pairs.")
            + table_html([{k: v for k, v in row.items() if k != "is_best"} for row in rows], "All measures"),
        )
    )
    seeds = sorted({seed for _, seed in results})
    networks = len({line["network"] for line in lines})
    subtitle = f"{counted(networks, 'network')}, {counted(len(results), 'run')}, seeds {', '.join(map(str, seeds))}"
    header = Header("Comparison", subtitle, page_facts(), str(output.resolve()))
    return page_html(header, sections, f"Written by sfgkeras {sfgkeras.__version__}.")
