import json

import numpy as np
import pytest

from sfgkeras import __version__
from sfgkeras.errors import DataError
from sfgkeras.preprocessing.histogram import HistogramSettings, NyulLandmarks, fit_landmarks
from sfgkeras.preprocessing.landmark_file import read_landmarks, write_landmarks
from sfgkeras.preprocessing.pipeline import ConfiguredStep

PERCENTILES = [1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99]
VALUES = [0, 3.1, 9, 12.6, 16.6, 25.8, 35.8, 47.2, 59.3, 65.8, 72.5, 86.5, 100]


@pytest.fixture
def landmarks():
    return NyulLandmarks(PERCENTILES, VALUES, "T2", "otsu_plus", fitted_on=("a", "b"), preparation="bias_field()")


def test_what_is_written_is_read(tmp_path, landmarks):
    path = tmp_path / "new" / "landmarks.json"
    other = fit_landmarks([np.random.default_rng(0).normal(size=1000)])
    write_landmarks(path, {"T2": landmarks, "PD": other})
    found = read_landmarks(path)
    assert found["T2"] == landmarks
    assert np.array_equal(found["PD"].values, other.values)
    assert found["T2"].software == f"sfgkeras {__version__}"
    assert [p.name for p in path.parent.iterdir()] == ["landmarks.json"]


def test_the_format_stays_what_it_is(tmp_path):
    path = tmp_path / "landmarks.json"
    landmarks = NyulLandmarks(
        [1, 50, 99], [0, 40, 100], "T2", "otsu_plus", software="sfgkeras 0", fitted_on=("a@1",), preparation="none"
    )
    write_landmarks(path, {"T2": landmarks})
    assert json.loads(path.read_text()) == {
        "format": "Nyul landmarks of sfgkeras, version 1",
        "modalities": {
            "T2": {
                "percentiles": [1.0, 50.0, 99.0],
                "values": [0.0, 40.0, 100.0],
                "foreground": "otsu_plus",
                "software": "sfgkeras 0",
                "fitted_on": ["a@1"],
                "preparation": "none",
            }
        },
    }


def test_niftynets_text_file_is_read(tmp_path):
    path = tmp_path / "histogram_ref.txt"
    path.write_text("T1 " + " ".join(map(str, VALUES)) + "\n\nFLAIR " + " ".join(map(str, VALUES)) + "\n")
    found = read_landmarks(path, cutoff=(0.05, 0.95))
    assert set(found) == {"T1", "FLAIR"}
    np.testing.assert_allclose(found["T1"].values, VALUES)
    np.testing.assert_allclose(found["T1"].percentiles, [5, *PERCENTILES[1:-1], 95])
    assert found["T1"].software == "NiftyNet"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("T1 1 2 3\n", "line 1 has 3 numbers after the modality, NiftyNet writes 13"),
        ("T1 " + " ".join(["x"] * 13), "could not convert"),
        ("", "holds no landmarks"),
        ('{"format": "other"}', "its format is 'other'"),
        ('{"format": "Nyul landmarks of sfgkeras, version 1"}', "has no 'modalities'"),
        ('{"format": "Nyul', "Unterminated string"),
    ],
)
def test_other_files_are_refused_with_their_name(tmp_path, text, reason):
    path = tmp_path / "landmarks.json"
    path.write_text(text)
    with pytest.raises(DataError, match=reason) as refusal:
        read_landmarks(path)
    assert str(refusal.value).startswith(str(path))


def test_values_that_fall_are_refused(tmp_path, landmarks):
    path = tmp_path / "landmarks.json"
    write_landmarks(path, {"T2": landmarks})
    content = json.loads(path.read_text(encoding="utf-8"))
    content["modalities"]["T2"]["values"][5] = 99
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="must be finite and increase"):
        read_landmarks(path)


def test_a_missing_file_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.json: there are no landmarks; correct histogram_ref_file"):
        read_landmarks(tmp_path / "nowhere.json")


def read_for(tmp_path, landmarks, preparation="bias_field()", fitted_on=("b", "a"), **settings):
    """Reads landmarks of a file as the step with such settings does."""
    path = tmp_path / "landmarks.json"
    write_landmarks(path, {"T2": landmarks})
    step = ConfiguredStep("histogram", HistogramSettings(**settings))
    return step.read_fitted(path, preparation, lambda fitted: fitted_on)


@pytest.mark.parametrize(
    ("now", "difference"),
    [
        ({"cutoff": (0.02, 0.98)}, r"cutoff \(0.01, 0.99\), now \(0.02, 0.98\)"),
        ({"foreground": "mean_plus"}, "foreground rule 'otsu_plus', now 'mean_plus'"),
        ({"fitted_on": ["a", "c"]}, "training subjects without c and with b"),
        ({"preparation": ""}, r"steps before 'bias_field\(\)', now ''"),
    ],
)
def test_stale_landmarks_are_refused_and_the_difference_named(tmp_path, landmarks, now, difference):
    with pytest.raises(DataError, match=f"landmarks.json: these landmarks are stale, fitted with {difference}"):
        read_for(tmp_path, landmarks, **now)


def test_fitting_landmarks_and_those_of_niftynet_pass(tmp_path, landmarks):
    assert read_for(tmp_path, landmarks) == landmarks
    unknown = NyulLandmarks(PERCENTILES, VALUES, "T2")
    assert read_for(tmp_path, unknown, "anything", ["z"], foreground="mean_plus") == unknown
