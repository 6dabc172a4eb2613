"""Steps that are fitted on the training subjects: one file and one line of the table each, whoever wrote them."""

import json
import sys

import numpy as np
import pytest

from sfgkeras.data.nifti import read_image
from sfgkeras.errors import DataError
from sfgkeras.preprocessing import table
from sfgkeras.preprocessing.fitted import FittedValues, read_values, write_values
from sfgkeras.preprocessing.folder import job, run_folder
from sfgkeras.preprocessing.foreground import foreground_mask
from sfgkeras.preprocessing.histogram import apply_landmarks, fit_landmarks

from .cohort_score import COHORT_SCORE

TRAINING = ["s0", "s2"]


@pytest.fixture
def score(monkeypatch):
    """One more line in the table of steps."""
    monkeypatch.setitem(table.STEPS, "cohort_score", COHORT_SCORE)


def run(cohort, steps="cohort_score", output="out", **options):
    options = {"training_subjects": TRAINING, "pictures": False, **options}
    return run_folder(cohort / "images", cohort / output, steps, **options)


def images(cohort):
    return {name: read_image(cohort / "images" / f"{name}.nii.gz").array for name in ("s0", "s1", "s2", "s3")}


def scored(found, training, above=0.0):
    """Z-scores, each training subject counting alike."""
    parts = [found[name][found[name] > above].astype(np.float64) for name in training]
    mean, square = np.mean([part.mean() for part in parts]), np.mean([np.mean(part**2) for part in parts])
    return {name: (image - mean) / np.sqrt(square - mean**2) for name, image in found.items()}


def test_a_step_from_outside_is_fitted_on_the_training_subjects_and_applied_to_all(cohort, score):
    result = run(cohort, settings={"cohort_score_above": "20"})
    assert result.fitted == {"cohort_score": (cohort / "out" / "cohort_score.json").resolve()}
    for name, expected in scored(images(cohort), TRAINING, 20).items():
        np.testing.assert_allclose(read_image(result.outputs[name]).array, expected, rtol=1e-4, atol=1e-4)
    (kept,) = read_values(result.fitted["cohort_score"]).values()
    assert [name.split("@")[0] for name in kept.fitted_on] == TRAINING
    assert (kept.modality, kept.preparation) == ("image", "none")
    record = json.loads((cohort / "out" / "provenance" / "s1.json").read_text())
    assert record["fitted"] == {"cohort_score": dict(kept.numbers)}
    assert str(result.fitted["cohort_score"]) in result.overview.read_text()


def test_a_second_run_fits_nothing_and_values_of_another_setting_or_cohort_are_stale(cohort, score):
    before = run(cohort).fitted["cohort_score"].read_bytes()
    again = run(cohort)
    assert (again.skipped, again.fitted["cohort_score"].read_bytes()) == (("s0", "s1", "s2", "s3"), before)
    with pytest.raises(DataError, match=r"these values are stale, fitted with .*0\.0.*, now .*30\.0.*cohort_score_ref"):
        run(cohort, settings={"cohort_score_above": "30"})
    with pytest.raises(DataError, match="training subjects without s1@"):
        run(cohort, training_subjects=["s0", "s1", "s2"])
    with pytest.raises(DataError, match="steps before 'none', now 'reorient"):
        run(cohort, "reorient, cohort_score", overwrite=True)
    assert run(cohort, settings={"cohort_score_above": "30"}, restart=True).done


def test_values_of_a_named_file_are_used_and_required_ones_must_be_there(cohort, score):
    with pytest.raises(DataError, match=r"cohort_score\.json: there are no values; train first, .*score_ref_file"):
        run(cohort, fitting="require")
    kept = cohort / "trained.json"
    write_values(kept, {"T2": FittedValues({"mean": 100.0, "deviation": 50.0})})
    result = run(cohort, settings={"cohort_score_ref_file": str(kept), "cohort_score_modality": "T2"})
    assert result.fitted == {"cohort_score": kept}
    np.testing.assert_allclose(read_image(result.outputs["s3"]).array, (images(cohort)["s3"] - 100) / 50, rtol=1e-5)
    write_values(kept, {"T2": FittedValues({"mean": 100.0, "deviation": 25.0})})
    again = run(cohort, settings={"cohort_score_ref_file": str(kept), "cohort_score_modality": "T2"})
    assert again.done == ("s0", "s1", "s2", "s3")  # none is skipped: the values decide, not their file
    with pytest.raises(DataError, match="has no values of 'PD', only of T2"):
        run(cohort, "cohort_score", "other", settings={"cohort_score_ref_file": kept, "cohort_score_modality": "PD"})


def test_a_fitted_step_after_another_sees_what_the_first_one_made(cohort, score, monkeypatch):
    applied = []
    original = job.Pipeline.apply

    def counting(self, *arguments, **options):
        applied.append(self.names)
        return original(self, *arguments, **options)

    monkeypatch.setattr(job.Pipeline, "apply", counting)
    result = run(cohort, "reorient, nyul, clip, cohort_score", settings={"clip_limits": "0, 90"})
    turned = {name: image[::-1, ::-1] for name, image in images(cohort).items()}
    masks = {name: foreground_mask(image) for name, image in turned.items()}
    landmarks = fit_landmarks(turned[name][masks[name]] for name in TRAINING)
    mapped = {
        name: np.clip(apply_landmarks(image, landmarks, foreground_mask=masks[name]), 0, 90)
        for name, image in turned.items()
    }
    for name, expected in scored(mapped, TRAINING).items():
        np.testing.assert_allclose(read_image(result.outputs[name]).array, expected, rtol=1e-3, atol=1e-3)
    assert set(result.fitted) == {"histogram", "cohort_score"}
    # No step ran twice on a training subject: each went on from where the last fit had left it.
    assert sorted(applied) == sorted(
        [*[("reorient",)] * 2, *[("histogram", "clip")] * 2, *[("cohort_score",)] * 2]
        + [("reorient", "histogram", "clip", "cohort_score")] * 2
    )
    assert not (cohort / "out" / ".work").exists()


def test_a_class_of_the_user_s_own_can_learn_from_the_training_subjects(cohort, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_fit.py").write_text(
        "import dataclasses\n"
        "from sfgkeras.preprocessing.steps import OwnFittedStep\n"
        "@dataclasses.dataclass(frozen=True)\n"
        "class Centre(OwnFittedStep):\n"
        "    scale: float = 1.0\n"
        "    def measure(self, volume):\n"
        "        return [volume.array.mean()]\n"
        "    def fit(self, measured):\n"
        "        return {'mean': float(sum(each[0] for each in measured) / len(measured))}\n"
        "    def apply(self, volume, context):\n"
        "        return volume.with_array((volume.array - context.fitted.numbers['mean']) * self.scale)\n"
    )
    result = run(cohort, "own_fit.Centre", settings={"centre_scale": "2"})
    sys.modules.pop("own_fit")
    mean = np.mean([images(cohort)[name].mean() for name in TRAINING])
    assert result.fitted == {"own_fit.Centre": (cohort / "out" / "centre.json").resolve()}
    np.testing.assert_allclose(
        read_image(result.outputs["s1"]).array, (images(cohort)["s1"] - mean) * 2, rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{}", "has no 'format'"),
        ('{"format": "other"}', "its format is 'other'"),
        ("[1]", "is no file of values"),
        ("nothing", "is no file of values"),
    ],
)
def test_other_files_are_refused_with_their_name(tmp_path, text, reason):
    path = tmp_path / "values.json"
    path.write_text(text)
    with pytest.raises(DataError, match=f"values.json: .*{reason}.*fit it again"):
        read_values(path)
