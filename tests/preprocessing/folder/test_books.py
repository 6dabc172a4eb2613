"""The books of a run: who is done, skipped and failed, in the manifest, the log and for whoever watches."""

import numpy as np
import pytest

from sfgkeras.data.nifti import write_image
from sfgkeras.errors import ConfigError
from sfgkeras.preprocessing.folder.books import Books, do_jobs
from sfgkeras.preprocessing.folder.job import JobResult
from sfgkeras.preprocessing.folder.manifest import Manifest, Record
from sfgkeras.preprocessing.folder.runners import SerialRunner


class Refusing:
    """A runner that nothing may be given to."""

    def run(self, jobs):
        raise AssertionError(f"asked for {len(jobs)} jobs")


@pytest.fixture
def books(tmp_path):
    (tmp_path / "out").mkdir()
    sentences, events = [], []
    made = Books(Manifest(tmp_path / "out" / "manifest.csv"), sentences.append, lambda *each: events.append(each), 3)
    return made, sentences, events


def test_every_end_is_counted_once_and_only_what_was_done_or_failed_is_written_down(books):
    made, sentences, events = books
    made.note(JobResult(Record("a", "done"), notes=("padded", "clipped")))
    made.note(JobResult(Record("b", "skipped")))
    made.note(JobResult(Record("c", "failed", message="c.nii: is broken"), details="Traceback: ..."))
    assert (made.done, made.skipped, made.failed) == (["a"], ["b"], {"c": "c.nii: is broken"})
    assert sentences == ["a: padded", "a: clipped", "failed: c.nii: is broken", "Traceback: ..."]
    assert events == [(1, 3, "a", "done"), (2, 3, "b", "skipped"), (3, 3, "c", "failed")]
    assert set(Manifest(made.manifest.path).records) == {"a", "c"}, "what was skipped has its row"


def test_the_start_counts_those_that_failed_while_they_were_measured(books):
    made, _, events = books
    made.note(JobResult(Record("a", "failed", message="no contrast")))
    made.note_start()
    assert events[-1] == (1, 3, "", "started")


def test_nobody_need_watch(tmp_path):
    made = Books(Manifest(tmp_path / "m.csv"), lambda text: None, None, 1)
    made.note(JobResult(Record("a", "done")))
    made.note_start()
    assert made.done == ["a"]


def test_what_is_done_asks_no_runner(books, job_of):
    """Starting workers would take longer than to see that there is nothing to do."""
    made, _, events = books
    jobs = [job_of(name) for name in ("a", "b")]
    assert do_jobs(jobs, None, SerialRunner(), made, "fit", False) == {}
    recorded = Manifest(made.manifest.path).records
    again = [job_of(name, recorded=recorded[name]) for name in ("a", "b")]
    events.clear()
    do_jobs(again, None, Refusing(), made, "fit", False)
    assert made.skipped == ["a", "b"]
    assert [event[3] for event in events] == ["started", "skipped", "skipped"]


def test_results_of_other_steps_are_refused_before_anything_runs_unless_they_may_be_replaced(books, job_of):
    made, _, _ = books
    do_jobs([job_of("a")], None, SerialRunner(), made, "fit", False)
    recorded = Manifest(made.manifest.path).records["a"]
    other = job_of("a", "reorient", recorded=recorded)
    with pytest.raises(ConfigError, match=r"holds results of other steps \(whiten\) of 1 subjects, e\.g\. 'a', than"):
        do_jobs([other], None, Refusing(), made, "fit", False)
    do_jobs([other], None, SerialRunner(), made, "fit", True)
    assert made.done == ["a", "a"]


def test_who_could_not_be_measured_is_not_tried_again(books, job_of):
    """One without contrast fails the fit of landmarks and is told once; the others go on with what was fitted."""
    made, sentences, _ = books
    jobs = [job_of(name, "histogram") for name in ("a", "b", "c")]
    write_image(jobs[1].image, np.full((6, 5, 4), 7, np.int16), np.eye(4))
    seen = []

    class Counting(SerialRunner):
        def run(self, jobs):
            seen.append([job.subject_id for job in jobs])
            return super().run(jobs)

    files = do_jobs(jobs, None, Counting(), made, "fit", False)
    assert seen == [["a", "b", "c"], ["a", "c"]]
    assert made.done == ["a", "c"]
    assert set(made.failed) == {"b"}
    assert files == {"histogram": jobs[0].folder / "landmarks.json"}
    assert any("fitted on 2 training subjects" in sentence for sentence in sentences)
