"""The verbs of the command line as functions: each opens a run, and does one thing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sfgkeras.config import Config, find_config
from sfgkeras.runs.comparison import Comparison
from sfgkeras.runs.keras_ready import require_tensorflow
from sfgkeras.runs.predictions import Predictions
from sfgkeras.runs.run import Run, Settings, open_run, overrides_of

Source = str | Path | Config | Run


def _run(config: Source, settings: Settings | None, verbose: bool) -> Run:
    """Opens a run; one that is open already keeps its settings and its way of telling."""
    if not isinstance(config, Run):
        return open_run(config, settings, verbose)
    return config.with_settings(settings) if settings else config


def check(
    config: Source, settings: Settings | None = None, *, headers_only: bool = False, verbose: bool = True
) -> bool:
    """Looks for every mistake in settings, images and labels; says whether training can start. See `Run.check`."""
    return _run(config, settings, verbose).check(headers_only)


def preprocess(
    config: Source,
    settings: Settings | None = None,
    *,
    restart: bool = False,
    overwrite: bool = False,
    verbose: bool = True,
) -> Run:
    """Prepares the images as `[PREPROCESSING]` says. See `Run.preprocess`."""
    return _run(config, settings, verbose).preprocess(restart, overwrite)


def train(config: Source, settings: Settings | None = None, *, restart: bool = False, verbose: bool = True) -> Run:
    """Trains a network; goes on where an earlier training stopped. See `Run.train`.

    Args:
        config: An INI file, the name of a shipped one, a model folder, a configuration, or a run.
        settings: Values in place of the file's, `{"TRAINING.max_iter": 1000}`.
        restart: Whether what an earlier run saved is removed first.
        verbose: Whether it shows what it does.

    Returns:
        The run.
    """
    return _run(config, settings, verbose).train(restart)


def infer(
    config: Source,
    settings: Settings | None = None,
    *,
    dataset: str | None = None,
    overwrite: bool = False,
    verbose: bool = True,
) -> Run:
    """Writes the network's results on each subject's own grid. See `Run.infer`."""
    return _run(config, settings, verbose).infer(dataset, overwrite)


def evaluate(
    config: Source, settings: Settings | None = None, *, dataset: str | None = None, verbose: bool = True
) -> Run:
    """Compares results with the truth; `Run.metrics` are the tables. See `Run.evaluate`."""
    return _run(config, settings, verbose).evaluate(dataset)


def report(config: Source, settings: Settings | None = None, *, verbose: bool = True, **options: Any) -> Path:
    """Writes the HTML page of a run; takes the options of `Run.report`."""
    return _run(config, settings, verbose).report(**options)


def predict(
    config: Source,
    inputs: str | Path | Sequence[str | Path],
    output: str | Path,
    settings: Settings | None = None,
    *,
    overwrite: bool = False,
    verbose: bool = True,
) -> Predictions:
    """Predicts new patients with a trained network. See `Run.predict`.

    Args:
        config: The model folder of a training, wherever it lies now, or what `train` took.
        inputs: Images or folders of them.
        output: Folder to write to.
        settings: Values that do not change what was trained.
        overwrite: Whether results of another checkpoint, other settings or other images are replaced.
        verbose: Whether it shows what it does.
    """
    return _run(config, None, verbose).predict(inputs, output, settings, overwrite)


def export(config: Source, settings: Settings | None = None, *, verbose: bool = True, **options: Any) -> Path:
    """Writes the hardened network as a file for others; takes the options of `Run.export`."""
    return _run(config, settings, verbose).export(**options)


def compare(
    config: str | Path | Sequence[str | Path],
    settings: Settings | None = None,
    *,
    rows: Sequence[str] = (),
    sharing: Sequence[str] = (),
    seeds: int = 3,
    fractions: Sequence[float] = (1.0,),
    features: Sequence[str] = (),
    output: str | Path | None = None,
    verbose: bool = True,
) -> Comparison:
    """Trains rows of a study over seeds on the same data, and tabulates them; runs that are done are not made again.

    Args:
        config: An INI file, or several to compare with each other.
        settings: Values in place of the files'.
        rows: Rows of the file's `[COMPARE]`; none for all.
        sharing: Sharing mechanisms; none for all, where the file has no rows.
        seeds: Runs of each.
        fractions: Parts of the training subjects, `(1, 0.25)`.
        features: Rows or mechanisms whose feature maps are drawn side by side.
        output: Folder; None for `comparison` in the model folder.
        verbose: Whether it shows what it does.

    Raises:
        ConfigError: If the arguments or the files do not fit each other.
    """
    from sfgkeras.applications.comparison.plan import choose_plan
    from sfgkeras.console import build_reporter

    names = [config] if isinstance(config, str | Path) else list(config)
    paths = [find_config(str(name)) for name in names]
    folder = Path(output) if output is not None else open_run(paths[0], settings).folder / "comparison"
    plan, refused = choose_plan(paths, rows, sharing, seeds, folder, overrides_of(settings), fractions)
    require_tensorflow("compare")
    from sfgkeras.applications.comparison.runs import compare as compare_runs

    compare_runs(plan, folder, build_reporter() if verbose else None, features, refused)
    return Comparison(folder)
