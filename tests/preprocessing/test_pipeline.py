import subprocess
import sys

import numpy as np
import pytest

from sfgkeras.errors import ConfigError, DataError, Problems
from sfgkeras.preprocessing.ct import scale_ct
from sfgkeras.preprocessing.pipeline import build_pipeline
from sfgkeras.preprocessing.table import ALIASES, STEPS
from sfgkeras.preprocessing.volume import StepContext, Volume
from sfgkeras.preprocessing.whitening import whiten

NEEDED = {
    "resample_like": {"resample_like_reference": "x.nii.gz"},
    "register": {"register_reference": "x.nii.gz"},
    "clip": {"clip_limits": "0, 1"},
}


def test_steps_run_in_the_order_written_and_aliases_are_understood():
    pipeline = build_pipeline("n4, Resample,nyul , whiten")
    assert pipeline.names == ("bias_field", "resample", "histogram", "whiten")
    assert build_pipeline(["n4", "nyul"]).names == ("bias_field", "histogram")
    assert pipeline.before("histogram").names == ("bias_field", "resample")
    assert pipeline.since("histogram").names == ("histogram", "whiten")


@pytest.mark.parametrize("name", STEPS)
def test_every_step_builds_with_its_defaults_and_is_explained(name):
    pipeline = build_pipeline(name, NEEDED.get(name))
    assert pipeline.names == (name,)
    assert STEPS[name].summary
    assert pipeline.digest() == build_pipeline(name, NEEDED.get(name)).digest()


def test_every_alias_leads_to_a_step():
    assert set(ALIASES.values()) <= set(STEPS)


def test_settings_go_to_the_step_with_the_longest_name():
    pipeline = build_pipeline(
        "resample, resample_like",
        {"resample_order": "3", "resample_like_order": "0", "resample_like_reference": "t.nii.gz"},
    )
    assert [step.settings.order for step in pipeline.steps] == [3, 0]


def test_settings_may_be_written_with_an_alias():
    pipeline = build_pipeline("n4", {"n4_shrink_factor": "2", "bias_field_engine": "antspyx"})
    assert pipeline.steps[0].settings.shrink_factor == 2
    assert pipeline.steps[0].settings.engine == "antspyx"


def test_a_changed_setting_changes_the_digest():
    digests = {build_pipeline("n4", options).digest() for options in ({}, {"n4_shrink_factor": "3"})}
    assert len(digests) == 2
    assert build_pipeline("whiten,reorient").digest() != build_pipeline("reorient,whiten").digest()


@pytest.mark.parametrize(
    ("steps", "options", "problem"),
    [
        ("nyull", {}, "unknown step 'nyull', did you mean 'nyul'?"),
        ("n4, bias_field", {}, "'bias_field' is there twice"),
        ("", {}, "is empty; name at least one of bias_field"),
        ("whiten, n4", {}, "bias_field comes after whiten, but N4 needs positive intensities"),
        (
            "whiten",
            {"n4_shrink_factor": "3"},
            "n4_shrink_factor = '3' has no effect: bias_field is not among",
        ),
        ("n4", {"n4_shrink_factor": "3", "bias_field_shrink_factor": "3"}, "repeats n4_shrink_factor"),
        (
            "n4",
            {"n4_schrink_factor": "3"},
            "unknown setting 'n4_schrink_factor', did you mean 'n4_shrink_factor'?",
        ),
        ("n4", {"shrink_factor": "3"}, "unknown setting 'shrink_factor'"),
        ("n4", {"n4_engine": "spm"}, "n4_engine = 'spm' is not known; choose one of simpleitk, antspyx"),
        ("n4", {"n4_iterations": "50, x"}, "n4_iterations = '50, x' has an element 'x' that is not a whole number"),
        ("nyul", {"nyul_norm_type": "quantile"}, "nyul_norm_type = 'quantile' is not known, did you mean 'quartile'?"),
        ("nyul", {"nyul_cutoff": "0.2, 0.9"}, "nyul_cutoff = '0.2, 0.9' is out of range"),
        ("whiten", {"whiten_foreground": "otsuplus"}, "did you mean 'otsu_plus'?"),
        ("resample", {"resample_spacing": "1, 2"}, "resample_spacing = '1, 2' needs one number or three"),
        ("resample", {"resample_label_method": "cubic"}, "resample_label_method = 'cubic' is not known"),
        ("resample_like", {}, "needs resample_like_reference"),
        (
            "register",
            {"register_reference": "a", "register_transform": "warp"},
            "register_transform = 'warp' is not known; choose one of rigid",
        ),
        ("clip", {}, "needs either clip_limits or clip_percentiles"),
        ("clip", {"clip_limits": "5, 1"}, "clip_limits = '5, 1' is empty"),
        ("ct", {"ct_clip": "2500, -1024"}, "ct_clip = '2500, -1024' is empty"),
        ("reorient", {"reorient_axcodes": "RAX"}, "reorient_axcodes"),
        ("convert", {"convert_dtype": "int12"}, "convert_dtype = 'int12' is not known; choose one of auto"),
        ("crop", {"crop_margin": "-1"}, "crop_margin = '-1' must be at least 0"),
    ],
)
def test_every_mistake_is_named_with_its_key(steps, options, problem):
    with pytest.raises(ConfigError) as refusal:
        build_pipeline(steps, options)
    assert problem in str(refusal.value)


def test_all_mistakes_come_at_once_with_the_keys_they_belong_to():
    with pytest.raises(Problems) as refusal:
        build_pipeline("ct, nope", {"ct_clip": "x", "foo": "1"})
    assert [problem.key for problem in refusal.value.problems] == ["steps", "foo", "ct_clip"]


def test_a_pipeline_is_its_steps_one_after_the_other():
    hu = np.random.default_rng(0).integers(-1000, 2000, (6, 7, 8)).astype(np.float32)
    seconds = {}
    after = build_pipeline("ct, whiten").apply(
        Volume(hu, np.eye(4)), StepContext("s"), lambda step, spent: seconds.update({step: spent})
    )
    np.testing.assert_array_equal(after.array, whiten(scale_ct(hu)))
    assert list(seconds) == ["ct", "whiten"]


def test_a_refusal_names_its_step():
    with pytest.raises(DataError, match="^step ct: no Hounsfield units: no value is below 0"):
        build_pipeline("reorient, ct").apply(Volume(np.ones((3, 3, 3)), np.eye(4)), StepContext("s"))


def test_the_histogram_step_never_fits_on_the_subject_itself():
    with pytest.raises(DataError, match="there are no landmarks"):
        build_pipeline("nyul").apply(Volume(np.ones((3, 3, 3)), np.eye(4)), StepContext("s"))


def test_preprocessing_never_loads_tensorflow_and_loads_slow_libraries_late():
    script = (
        "import pkgutil, importlib, sys\n"
        "import sfgkeras.preprocessing as package\n"
        "for module in pkgutil.iter_modules(package.__path__):\n"
        "    importlib.import_module(f'sfgkeras.preprocessing.{module.name}')\n"
        "slow = {'tensorflow', 'keras', 'ants', 'SimpleITK', 'pandas', 'distributed', 'matplotlib'}\n"
        "print(sorted(slow & set(sys.modules)))\n"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


def test_modules_are_reached_through_the_package():
    script = (
        "from sfgkeras import preprocessing\n"
        "landmarks = preprocessing.histogram.fit_landmarks([[1.0, 2.0, 5.0, 9.0]])\n"
        "print(len(landmarks.values), preprocessing.ct.scale_ct(0), hasattr(preprocessing, 'nothing'))\n"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "13 1.0 False\n"
