"""Plans of the synthetic cohorts, whose meaning is known, and runs as planned from an empty folder."""

import pytest

from sfgkeras.applications.check import check_run
from sfgkeras.applications.planning.plan import plan_folder, write_plan
from sfgkeras.applications.subjects.preprocessing_settings import read_run
from sfgkeras.phantom.kinds import KINDS
from sfgkeras.reporter import SilentReporter

COHORTS = {
    ("pelvis", "nifti"): {"ct": "regression", "organs": "segmentation"},
    ("shapes", "hdf5"): {"masks": "segmentation", "bboxes": "bounding_box", "binary": "classification"},
    ("shapes", "folder"): {"masks": "segmentation", "box": "bounding_box", "kind": "classification"},
    ("rooms", "hdf5"): {"depth": "depth", "normals": "normals", "labels": "segmentation"},
    ("fundus", "folder"): {
        "bright": "segmentation",
        "red": "segmentation",
        "has_bright": "classification",
        "has_red": "classification",
    },
}


def planned_run(kind, layout, tmp_path, settings=()):
    folder = tmp_path / "data"
    KINDS[kind].layouts[layout].load()(folder, 8)
    plan = plan_folder(folder, tmp_path / "run.ini", SilentReporter())
    write_plan(plan, tmp_path / "run.ini")
    return plan, read_run(tmp_path / "run.ini", settings)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "layout"), COHORTS)
def test_what_a_cohort_shows_is_learned(kind, layout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan, config = planned_run(kind, layout, tmp_path)
    assert {task.name: task.type for task in plan.facts.roles.tasks} == COHORTS[kind, layout]
    assert check_run(config, SilentReporter())


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "layout"), COHORTS)
def test_a_planned_run_of_a_cohort_goes_through(kind, layout, tmp_path, monkeypatch, reporter):
    from sfgkeras.applications import run
    from sfgkeras.applications.report.page import write_report

    monkeypatch.chdir(tmp_path)
    _, config = planned_run(kind, layout, tmp_path, [("TRAINING.max_iter", "50")])
    run.train(config, reporter)
    run.infer(config, reporter)
    assert set(run.evaluate(config, reporter)) == set(config.tasks)
    assert write_report(config, reporter).is_file()
