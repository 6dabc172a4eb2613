from contextlib import contextmanager

from sfgkeras.applications.subjects.folder_progress import FolderProgress


class Recorder:
    """Keeps what bars were opened, moved and closed."""

    def __init__(self):
        self.events = []

    @contextmanager
    def stage(self, title, total, done=0):
        self.events.append(("open", title, total))
        yield self
        self.events.append(("close", title))

    def advance(self, steps=1, note=""):
        self.events.append((steps, note))


def test_measuring_and_preprocessing_have_a_bar_each_that_begins_with_the_work():
    reporter = Recorder()
    with FolderProgress(reporter, "preprocessing MR") as progress:
        for event in (
            (0, 2, "", "measured"), (1, 2, "a", "measured"), (2, 2, "b", "measured"),
            (0, 3, "", "started"), (1, 3, "c", "skipped"), (3, 3, "a", "done"), (3, 3, "a", "done"),
        ):  # fmt: skip
            progress.show(*event)
    assert reporter.events == [
        ("open", "measuring training subjects", 2), (1, "a measured"), (1, "b measured"),
        ("close", "measuring training subjects"),
        ("open", "preprocessing MR", 3), (1, "c skipped"), (2, "a done"), ("close", "preprocessing MR"),
    ]  # fmt: skip
