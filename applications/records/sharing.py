"""Reads what a run has noted of which tasks share what."""

from collections.abc import Sequence

from sfgkeras.analysis.sharing_record import SharingRecord
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.callbacks import learned_path, read_grouping_history, read_learned


def read_sharing_record(run: RunFolder, task_names: Sequence[str]) -> SharingRecord:
    """Returns the sharing matrices of a run, and what its mechanism learned.

    Raises:
        DataError: If the file is missing or damaged.
        ValueError: If it was noted for another number of tasks.
    """
    return SharingRecord.from_history(
        read_grouping_history(run.sharing), task_names, read_learned(learned_path(run.sharing))
    )
