"""What is planned for real images: which are seen and learned, how they are found, and what is said of others."""

import numpy as np
import pytest

from sfgkeras.applications.planning.plan import write_plan
from sfgkeras.applications.subjects.cohort import find_cohort
from sfgkeras.applications.subjects.preprocessing_settings import read_run

pytestmark = pytest.mark.real_data

SETS = {
    "pairs_t2_adc": ({"T2"}, {"adc": "regression", "lesion": "segmentation"}, 1),
    "pairs_template_mr_ct": ({"MR"}, {"ct": "regression", "tissue": "segmentation"}, 1),
    "mr_brain_multi": ({"ILIST_T1"}, {"slist_tissue": "segmentation"}, 7),
    "spine": ({"T2W"}, {"seg_subreg_msk": "segmentation", "seg_vert_msk": "segmentation"}, 1),
    "ct_pelvis": ({"PELVIS_CROP_CT"}, {"pelvis_crop_labels6": "segmentation"}, 1),
    "mr_pelvis": ({"T2TRA"}, {"adc": "regression", "lesion_src": "segmentation"}, 1),
    "mr_brain_misc": ({"STROKE_T2"}, {"stroke_t2_lesion": "segmentation"}, 1),
    "mr_cord": ({"T2S_UNCROPPED"}, {"uncropped_gmseg_manual": "segmentation"}, 1),
    "pets": ({"IMAGES"}, {"annotations_trimaps": "segmentation"}, 71),
}

LARGE = ("mr_brain_misc", "mr_pelvis", "ct_pelvis")


@pytest.fixture(scope="module")
def planned(real_data):
    """Plans each set once."""
    from sfgkeras.applications.planning.machine import Machine
    from sfgkeras.applications.planning.plan import plan_folder
    from sfgkeras.reporter import SilentReporter

    found = {}

    def plan_set(name, folder):
        if name not in found:
            output = folder / f"{name}.ini"
            found[name] = plan_folder(real_data / name, output, SilentReporter(), machine=Machine(16 << 30, False))
        return found[name]

    return plan_set


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in LARGE else []) for n in SETS])
def test_images_targets_and_subjects(name, planned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images, tasks, subjects = SETS[name]
    plan = planned(name, tmp_path)
    assert {source.name for source in plan.facts.roles.images} == images
    assert {task.name: task.type for task in plan.facts.roles.tasks} == tasks
    # What the file finds is what was meant, by id and path.
    write_plan(plan, tmp_path / f"{name}.ini", overwrite=True)
    cohort = find_cohort(read_run(tmp_path / f"{name}.ini"))
    assert len(cohort.subjects) == subjects
    for source in plan.facts.roles.used:
        found = {subject: image.path for subject, image in cohort.images[source.name].items()}
        assert found == {subject: image.path for subject, image in source.images.items()}


def test_units_and_labels_are_those_of_the_voxels(planned, tmp_path):
    template = planned("pairs_template_mr_ct", tmp_path).lines
    assert template.value("CT", "scaling") == "ct"
    assert template.value("TASK tissue", "num_classes") == "4"
    spine = planned("spine", tmp_path).lines
    assert spine.value("TASK seg_vert_msk", "label_normalisation") == "yes"
    assert spine.value("TASK seg_vert_msk", "num_classes") == "9"
    adc = planned("pairs_t2_adc", tmp_path)
    assert adc.lines.value("TASK adc", "scale") == "0.0001"
    assert any("write outside = 0 in [ADC]" in doubt for doubt in adc.doubts)


def test_thick_slices_are_not_cut_across(planned, tmp_path):
    for name, image in (("pairs_t2_adc", "T2"), ("mr_cord", "T2S_UNCROPPED"), ("mr_brain_multi", "ILIST_T1")):
        window = planned(name, tmp_path).lines.value(image, "spatial_window_size").split(", ")
        assert [axis for axis, size in enumerate(window) if size == "1"] == [2], name


def test_what_is_damaged_or_of_another_subject_is_said(planned, tmp_path):
    told = " ".join(planned("mr_cord", tmp_path).doubts)
    for name in ("dmri.nii.gz: is 4-D", "MTR is left out", "NaN or infinite", "the network could as well see"):
        assert name in told
    told = " ".join(planned("mr_brain_multi", tmp_path).doubts)
    assert "PEDS_MPRAGE_T1 is left out: none of its subjects has ILIST_T1" in told
    assert "XML files" in " ".join(planned("pets", tmp_path).doubts)


@pytest.mark.slow
def test_a_ct_that_is_seen_is_clipped_to_what_is_denser_than_lung(planned, tmp_path):
    ct = planned("ct_pelvis", tmp_path).lines
    low, high = map(float, ct.value("PREPROCESSING", "clip_limits").split(","))
    assert -500 <= low < 0 < high < 2000
    assert ct.value("PREPROCESSING", "steps") == "clip"


def test_windows_are_drawn_by_labels_that_are_rare(planned, tmp_path):
    lesion = planned("pairs_t2_adc", tmp_path).lines
    assert (lesion.value("NETWORK", "window_sampling"), lesion.value("MULTITASK", "sampler")) == ("balanced", "LESION")


@pytest.mark.slow
def test_a_dicom_series_is_planned_as_an_image_beside_nifti_targets(real_data, tmp_path, monkeypatch):
    """The series that `mr_pelvis` has as a NIfTI file: the same image, targets and places."""
    from sfgkeras.applications.planning.machine import Machine
    from sfgkeras.applications.planning.plan import plan_folder
    from sfgkeras.reporter import SilentReporter

    monkeypatch.chdir(tmp_path)
    scans = tmp_path / "scans"
    scans.mkdir()
    (scans / "ProstateX-0000_t2tra").symlink_to(real_data / "dicom_mr_pelvis" / "ProstateX-0000_t2tra")
    for kind in ("adc", "lesion_src"):
        name = f"ProstateX-0000_{kind}.nii.gz"
        (scans / name).symlink_to(real_data / "mr_pelvis" / name)
    plan = plan_folder(scans, tmp_path / "run.ini", SilentReporter(), machine=Machine(16 << 30, False))
    assert {task.name: task.type for task in plan.facts.roles.tasks} == SETS["mr_pelvis"][1]
    write_plan(plan, tmp_path / "run.ini")
    cohort = find_cohort(read_run(tmp_path / "run.ini"))
    assert list(cohort.subjects) == ["ProstateX-0000"]
    assert cohort.images["T2TRA"]["ProstateX-0000"].header().shape[:3] == (384, 384, 19)


def test_windows_fit_into_the_smallest_volume(planned, tmp_path):
    for name in ("pairs_t2_adc", "mr_brain_multi", "spine", "mr_cord"):
        plan = planned(name, tmp_path)
        window = np.array(plan.lines.value(plan.facts.first.name, "spatial_window_size").split(", "), int)
        assert (window <= plan.facts.smallest).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_a_run_as_planned_trains_infers_evaluates_and_reports(name, real_data, tmp_path, monkeypatch, reporter):
    from sfgkeras.applications import run
    from sfgkeras.applications.check import check_run
    from sfgkeras.applications.planning.plan import plan_folder
    from sfgkeras.applications.report.page import write_report

    monkeypatch.chdir(tmp_path)
    plan = plan_folder(real_data / name, tmp_path / "run.ini", reporter)
    write_plan(plan, tmp_path / "run.ini")
    config = read_run(tmp_path / "run.ini", [("TRAINING.max_iter", "50")])
    assert check_run(config, reporter)
    run.train(config, reporter)
    run.infer(config, reporter)
    summary = run.evaluate(config, reporter)
    assert set(summary) == set(config.tasks)
    assert write_report(config, reporter).is_file()
