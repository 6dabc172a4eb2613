"""A comparison of several runs, as tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sfgkeras.analysis.frames import read_frame, statistics

if TYPE_CHECKING:
    import pandas as pd

QUANTITY = ("network", "task", "group", "measure")


class Comparison:
    """What `compare` left in a folder.

    Attributes:
        folder: The folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def __repr__(self) -> str:
        return f"Comparison({str(self.folder)!r})"

    @property
    def page(self) -> Path:
        """The HTML page."""
        return self.folder / "comparison.html"

    def quantities(self) -> "pd.DataFrame":
        """Returns `comparison.csv`: a row per quantity and network, with means, deviations and p values."""
        return read_frame(self.folder / "comparison.csv")

    def table(self) -> "pd.DataFrame":
        """Returns `table.csv`: a row per network with weights, epochs, scores and costs."""
        return read_frame(self.folder / "table.csv")

    def scores(self) -> "pd.DataFrame":
        """Returns `runs.csv`: a row per network, seed, subject and quantity."""
        return read_frame(self.folder / "runs.csv")

    def curves(self) -> "pd.DataFrame":
        """Returns `curves.csv`: validation scores against epochs."""
        return read_frame(self.folder / "curves.csv")

    def sharing(self) -> "pd.DataFrame":
        """Returns `sharing.csv`: which tasks share what, stage by stage, of every run."""
        return read_frame(self.folder / "sharing.csv")

    def statistics(self, by: Sequence[str] = QUANTITY, over: str = "seed") -> "pd.DataFrame":
        """Summarises the scores group by group.

        Of each group the values of one seed (or subject) are averaged first, and what is summarised are these means, so
        that many subjects do not pass for many trainings. `comparison.csv` does the same over the subjects that every
        network has a value for; here every finite value counts.

        Args:
            by: Columns of `scores` that name a group: `network`, `seed`, `task`, `group`, `measure`, `subject_id`.
            over: `seed`, `subject_id`, or empty for all values as they are.

        Returns:
            The columns of `by`, `mean`, `std`, `median`, `min`, `max`, `n` and `n_missing`.

        Raises:
            DataError: If there is no such column.
        """
        scores = self.scores()
        if not over or over in by:
            return statistics(scores, by)
        means = statistics(scores, [*by, over]).rename(columns={"mean": "value"})
        return statistics(means, by)
