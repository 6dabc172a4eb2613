"""The figures of a run, drawn of what it has noted."""

from typing import TYPE_CHECKING

from sfgkeras.analysis.curves import draw_curves
from sfgkeras.analysis.figures import GROUPING_FIGURES, SHARING_FIGURES
from sfgkeras.analysis.grouping_record import GroupingRecord
from sfgkeras.analysis.learned_figures import draw_learned
from sfgkeras.analysis.sharing_record import has_moved
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.records.sharing import read_sharing_record
from sfgkeras.applications.report.facts import best_iteration, epoch_of
from sfgkeras.applications.report.tables import curve_columns
from sfgkeras.callbacks.grouping_file import read_grouping_history
from sfgkeras.config import Config
from sfgkeras.errors import DataError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def grouping_record(config: Config) -> GroupingRecord:
    """Returns the grouping probabilities that a run has noted.

    Raises:
        DataError: If there are none, or of other tasks.
    """
    path = RunFolder(config.system.model_dir).grouping
    try:
        return GroupingRecord.from_history(read_grouping_history(path), list(config.tasks))
    except ValueError as error:
        told = str(error)
        raise DataError(told if told.startswith(str(path)) else f"{path}: {told}") from error


def draw_figures(config: Config) -> "dict[str, Figure]":
    """Draws the figures of a run by their names in the report; those that there are no data for are left out."""
    run, found = RunFolder(config.system.model_dir), {}
    by_epoch = config.training.max_epochs is not None
    if columns := curve_columns(run, by_epoch):
        x, best = next(iter(columns)), best_iteration(run)
        found["curves"] = draw_curves(columns, x, best=epoch_of(run, best) if x == "epoch" else best)
    if run.grouping.is_file():
        record = grouping_record(config)
        found |= {name: kind.draw(record) for name, kind in GROUPING_FIGURES.items()}
    if len(config.tasks) > 1 and run.sharing.is_file():
        shared = read_sharing_record(run, list(config.tasks))
        wanted = [name for name in SHARING_FIGURES if name == "sharing" or has_moved(shared)]
        found |= {name: SHARING_FIGURES[name].draw(shared) for name in wanted}
        if (learned := draw_learned(shared.learned, list(config.tasks))) is not None:
            found["learned"] = learned
    return found
