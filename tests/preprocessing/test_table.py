"""The table of steps, steps of the user's own, and what a pipeline says of its parts."""

import sys
import types
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from sfgkeras.errors import ConfigError, DataError, Problems
from sfgkeras.preprocessing.fitted import FittedValues
from sfgkeras.preprocessing.pipeline import build_pipeline
from sfgkeras.preprocessing.steps import OwnFittedStep, OwnStep
from sfgkeras.preprocessing.table import (
    ALIASES,
    STEPS,
    all_keys,
    find_step,
    known_keys,
    own_problem,
    setting_names,
    setting_prefixes,
    short_name,
    step_name,
)
from sfgkeras.preprocessing.volume import StepContext, Volume

CONTEXT = StepContext("s1")


@dataclass(frozen=True)
class Shift(OwnStep):
    """Adds a number.

    More of it.
    """

    by: float = 2.0
    changes: ClassVar = "values"

    def apply(self, volume, context):
        return volume.with_array(volume.array + self.by, f"shifted {context.subject_id}")


@dataclass(frozen=True)
class Level(OwnFittedStep):
    """Divides by the mean of the cohort."""

    power: float = 1.0

    def measure(self, volume):
        return np.array([volume.array.mean()])

    def fit(self, measured):
        return {"mean": float(np.mean(measured) ** self.power)}

    def apply(self, volume, context):
        return volume.with_array(volume.array / context.fitted.numbers["mean"])


@dataclass(frozen=True)
class Lacking(OwnFittedStep):
    """Has nothing of what a step has."""


class NoStep:
    """Something else."""


@pytest.fixture
def own(monkeypatch):
    """Makes the classes above known by short paths, as a module of the user's own."""
    module = types.ModuleType("own_steps_of_a_test")
    module.__file__ = "own_steps.py"
    module.__spec__ = ModuleSpec(module.__name__, None)
    for each in (Shift, Level, Lacking, NoStep):
        setattr(module, each.__name__, each)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module.__name__


def volume_of(value):
    return Volume(np.full((2, 2, 2), value, np.float32), np.eye(4))


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("n4", "bias_field"), (" N4 ", "bias_field"), ("Whiten", "whiten"), ("crop", "crop_foreground"),
        ("isotropic", "resample"), ("nothing", None), ("", None), ("my.module.Class", "my.module.Class"),
    ],
)  # fmt: skip
def test_steps_are_known_by_name_alias_or_path(written, name):
    assert step_name(written) == name


def test_no_alias_hides_a_step():
    assert not set(ALIASES) & set(STEPS)
    assert [short_name(name) for name in ("ct", "my.module.Smooth")] == ["ct", "smooth"]


def test_only_what_has_a_measure_is_fitted_and_the_other_way_round():
    for name, step in STEPS.items():
        assert (step.measure is None) == (step.fit is None), name
        assert ("ref_file" in setting_names(name)) == (step.fit is not None), name


def test_a_step_of_the_users_own_is_a_line_of_the_table(own):
    line = find_step(f"{own}.Shift")
    assert (line.settings, line.summary, line.changes) == (Shift, "Adds a number.", "values")
    assert (line.measure, line.fit) == (None, None)
    assert setting_names(f"{own}.Shift") == ["by"]
    pipeline = build_pipeline(f"{own}.Shift, whiten", {"shift_by": "5"})
    assert pipeline.steps[0].prefix == "shift"
    after = pipeline.before("whiten").apply(volume_of(1.0), CONTEXT)
    assert after.array.max() == 6.0
    assert after.notes == ("shifted s1",)


def test_a_fitted_step_of_the_users_own_is_measured_fitted_and_given_its_values(own):
    pipeline = build_pipeline(f"{own}.Level", {"level_power": "2"})
    (step,) = pipeline.fitted
    assert step.file_name == "level.json"
    assert step.file_in(Path("out")) == Path("out/level.json")
    measured = [step.measure(volume_of(value)) for value in (2.0, 4.0)]
    fitted = step.fit(measured, "image", ["a", "b"], "none")
    assert (fitted.numbers, fitted.modality, fitted.fitted_on) == ({"mean": 9.0}, "image", ("a", "b"))
    after = pipeline.apply(volume_of(18.0), CONTEXT, fitted={step.name: fitted})
    assert after.array.max() == 2.0


@pytest.mark.parametrize("method", ["apply", "measure", "fit"])
def test_what_a_step_lacks_is_named(method, own):
    arguments = {"apply": (volume_of(1.0), CONTEXT), "measure": (volume_of(1.0),), "fit": ([np.ones(1)],)}[method]
    with pytest.raises(NotImplementedError, match=f"Lacking lacks {method}"):
        getattr(Lacking(), method)(*arguments)


def test_what_is_no_step_is_refused_with_the_reason(own):
    assert own_problem(f"{own}.Shift") == ""
    assert "NoStep" in own_problem(f"{own}.NoStep")
    assert "Missing" in own_problem(f"{own}.Missing")
    with pytest.raises(ConfigError, match="NoStep"):
        find_step(f"{own}.NoStep")
    with pytest.raises(Problems, match="NoStep"):
        build_pipeline(f"{own}.NoStep")


def test_settings_of_a_run_are_those_of_the_table_its_aliases_and_its_own_steps(own):
    assert all_keys() == [f"{name}_{each}" for name in STEPS for each in setting_names(name)]
    known = known_keys(["whiten", f"{own}.Shift", f"{own}.NoStep"])
    assert set(all_keys()) <= set(known)
    assert {"n4_shrink_factor", "nyul_cutoff", "crop_margin", "shift_by"} <= set(known)
    assert not [key for key in known if key.startswith("nostep")]
    assert "shift_by" not in known_keys()
    prefixes = setting_prefixes(["ct", f"{own}.Shift"])
    assert (prefixes["n4"], prefixes["ct"], prefixes["shift"]) == ("bias_field", "ct", f"{own}.Shift")
    assert "shift" not in setting_prefixes(["ct"])


def test_a_pipeline_is_parted_where_values_begin_to_change():
    pipeline = build_pipeline("reorient, resample, n4, pad, whiten")
    assert pipeline.placing().names == ("reorient", "resample")
    assert pipeline.measuring().names == ("bias_field", "pad", "whiten")
    assert pipeline.changing("grid") == ("reorient", "resample", "pad")
    assert pipeline.changing("values") == ("bias_field", "whiten")
    assert pipeline.changing("place") == ()
    still = build_pipeline("reorient, pad")
    assert (still.placing().names, still.measuring().names) == (still.names, ())
    assert build_pipeline("whiten, pad").placing().names == ()
    moved = build_pipeline("reorient, register, whiten", {"register_reference": "x.nii.gz"})
    assert moved.placing().names == ("reorient", "register"), "what moves an image changes no value"
    assert moved.changing("place") == ("register",)


def test_a_modality_names_what_is_fitted_unless_the_settings_do():
    pipeline = build_pipeline("nyul, whiten").of_modality("T2")
    assert [step.settings for step in pipeline.steps][0].modality == "T2"
    assert pipeline.steps[1] == build_pipeline("whiten").steps[0]
    named = build_pipeline("nyul", {"nyul_modality": "FLAIR"}).of_modality("T2")
    assert named.steps[0].settings.modality == "FLAIR"


def test_the_preparation_is_told_without_what_leaves_the_image_alone():
    """Landmarks that were fitted before a setting was known, or with another label method, must stay usable."""
    steps = "resample, n4, whiten"
    told = build_pipeline(steps, {"resample_spacing": "1.5", "n4_iterations": "5, 4"}).preparation_text()
    first, second, third = told.split("; ")
    assert first == "resample(spacing=1.5 1.5 1.5, order=1, antialias=yes)"
    assert "iterations=5 4" in second
    assert "spline_distance=none" in second
    assert "save_field" not in second
    assert third == "whiten(foreground=all, threshold=0)"
    changed = {"resample_spacing": "1.5", "n4_iterations": "5, 4"}
    beside = {"resample_label_method": "linear", "n4_save_field": "yes"}
    assert build_pipeline(steps, changed | beside).preparation_text() == told
    assert build_pipeline(steps, changed | {"resample_order": "3"}).preparation_text() != told
    assert build_pipeline("whiten").before("whiten").preparation_text() == "none"


def test_a_pipeline_in_one_line_and_as_plain_values():
    pipeline = build_pipeline("clip", {"clip_limits": "0, 5"})
    assert pipeline.text() == "clip(limits=[0.0, 5.0], percentiles=None)"
    assert pipeline.describe() == [{"step": "clip", "limits": [0.0, 5.0], "percentiles": None}]


def test_each_step_is_timed_and_finds_its_own_fit_alone(own):
    pipeline = build_pipeline(f"{own}.Shift, {own}.Level")
    seen = []
    fitted = {f"{own}.Level": FittedValues({"mean": 3.0})}
    after = pipeline.apply(volume_of(1.0), CONTEXT, lambda name, seconds: seen.append((name, seconds >= 0)), fitted)
    assert after.array.max() == 1.0
    assert seen == [(f"{own}.Shift", True), (f"{own}.Level", True)]


def test_a_step_that_moves_or_measures_reads_its_file_and_refuses_a_stale_one(own, tmp_path):
    (step,) = build_pipeline(f"{own}.Level").fitted
    fitted = step.fit([np.ones(1)], "image", ["a@1"], "none")
    path = step.file_in(tmp_path)
    step.step.file.write(path, {"image": fitted})
    assert step.read_fitted(path, "none", lambda fitted: ["a@1"]) == fitted
    assert step.read_fitted(path, "none") == fitted
    with pytest.raises(DataError, match=r"level\.json: these values are stale, fitted with steps before 'none', now"):
        step.read_fitted(path, "x")
    with pytest.raises(DataError, match="without b@2 and with a@1"):
        step.read_fitted(path, "none", lambda fitted: ["b@2"])
