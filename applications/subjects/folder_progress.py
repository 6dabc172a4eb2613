"""Shows a run over a folder of images as bars: measuring training subjects for steps that are fitted, then all."""

from contextlib import ExitStack
from typing import Any

from sfgkeras.reporter import Reporter, Stage

MEASURED = "measured"


class FolderProgress:
    """Takes what `run_folder` tells of its progress; the number of subjects is known only then.

    Args:
        reporter: Shows the bars.
        title: What is done, e.g. `"preprocessing MR"`.
    """

    def __init__(self, reporter: Reporter, title: str = "preprocessing") -> None:
        self._reporter, self._title = reporter, title
        self._stack, self._shown = ExitStack(), ("", 0)
        self._stage: Stage | None = None

    def __enter__(self) -> "FolderProgress":
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def show(self, done: int, total: int, subject_id: str, status: str) -> None:
        """Moves the bar."""
        # A training subject that fails in measuring is told twice: then, and as failed of all subjects.
        phase = "measuring training subjects" if status == MEASURED else self._title
        if phase != self._shown[0] or done < self._shown[1]:  # several steps may be fitted, one after the other
            self._stack.close()
            self._stage = self._stack.enter_context(self._reporter.stage(phase, total))
            self._shown = phase, 0
        if self._stage is not None and done > self._shown[1]:
            self._stage.advance(done - self._shown[1], f"{subject_id} {status}")
            self._shown = phase, done
