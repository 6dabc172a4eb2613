"""What steps are fitted to: kept in a file, chosen by modality, refused where it was fitted for something else."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from sfgkeras.errors import DataError
from sfgkeras.preprocessing.fitted import (
    FORMAT,
    FittedSettings,
    FittedValues,
    check_fitted,
    choose_modality,
    image_identity,
    read_values,
    write_values,
)
from sfgkeras.settings import setting


@dataclass(frozen=True)
class ScaleSettings(FittedSettings):
    """Settings of a step that scales."""

    power: float = setting(1.0, "Of the scale.")


FITTED = FittedValues({"mean": 1.5, "all": [1, 2]}, fitted_on=("a@11", "b@22"), preparation="n4(x=1)")


def refusal(fitted=FITTED, fitted_on=("a@11", "b@22"), preparation="n4(x=1)", differences=()):
    """Returns what is said of values for some subjects and steps; None where they may be used."""
    try:
        check_fitted("v.json", fitted, differences, fitted_on, preparation, "values", "scale")
    except DataError as error:
        return str(error)
    return None


def test_numbers_of_several_modalities_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "new" / "values.json"
    one = FITTED.originating(ScaleSettings(power=2.0), "T1 é", ("a@11",), "none")
    written = {"T1 é": one, "T2": FittedValues({"mean": -1e-300}, modality="T2")}
    write_values(path, written)
    assert read_values(path) == written
    assert "é" in path.read_text(encoding="utf-8"), "readable, and no escapes"
    write_values(path, {"T2": written["T2"]})
    assert list(read_values(path)) == ["T2"], "a file is written whole"


def test_values_know_with_which_settings_they_were_fitted_but_not_where_they_lie():
    fitted = FittedValues({"mean": 1.0})
    assert fitted.differences(ScaleSettings(power=9.0)) == [], "what is not known contradicts nothing"
    known = fitted.originating(ScaleSettings(power=2.0, ref_file=Path("x.json"), modality="T1"), "T1", ("a",), "none")
    assert (known.modality, known.fitted_on, known.preparation) == ("T1", ("a",), "none")
    assert known.described() == {"mean": 1.0}
    assert known.differences(ScaleSettings(power=2.0)) == []
    assert known.differences(ScaleSettings(power=2.0, modality="T9", ref_file=Path("y"))) == []
    (difference,) = known.differences(ScaleSettings(power=3.0))
    assert difference == '{"power": 2.0}, now {"power": 3.0}'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"format": "other"}', f"its format is 'other', not {FORMAT!r}"),
        ('{"modalities": {}}', "has no 'format'"),
        (f'{{"format": "{FORMAT}", "modalities": {{"T1": {{"numbers": {{}}}}}}}}', "has no 'settings'"),
        (f'{{"format": "{FORMAT}", "modalities": [1]}}', "'list' object has no attribute"),
        ("[]", "list indices must be"),
        ("{", "Expecting property name"),
    ],
)
def test_damaged_files_are_refused_with_the_reason(text, reason, tmp_path):
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(DataError) as refused:
        read_values(tmp_path / "v.json")
    assert str(refused.value).startswith(f"{tmp_path / 'v.json'}: is no file of values: ")
    assert reason in str(refused.value)
    assert str(refused.value).endswith("; fit it again")


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"no\.json: there are no values; correct ref_file of the step, or leave it out"
    ):
        read_values(tmp_path / "no.json")
    with pytest.raises(DataError, match="is no file of values"):
        read_values(tmp_path)


@pytest.mark.parametrize(
    ("found", "modality", "is_only", "chosen"),
    [
        ({"T1": 1}, None, True, 1),
        ({"T1": 1, "T2": 2}, "T2", True, 2),
        ({"image": 3}, "T2", True, 3),
        ({"image": 3, "T2": 2}, "T2", True, 2),
        ({"image": 3, "T2": 2}, "T2", False, 2),
    ],
)
def test_a_modality_is_found_by_name_or_because_it_is_the_only_one(found, modality, is_only, chosen):
    assert choose_modality("f", found, modality, "values", "scale", is_only) == chosen


@pytest.mark.parametrize(
    ("found", "modality", "is_only", "message"),
    [
        ({}, None, True, "f: holds no values; fit it again"),
        ({"T1": 1, "T2": 2}, None, True, "f: has values of T1, T2; name one by scale_modality"),
        ({"T1": 1}, "T2", True, "f: has no values of 'T2', only of T1; name another file"),
        # The one without a name cannot be that of each of several modalities.
        ({"image": 1}, "T2", False, "f: has no values of 'T2', only of image"),
    ],
)
def test_a_modality_that_is_not_there_is_refused(found, modality, is_only, message):
    with pytest.raises(DataError) as refused:
        choose_modality("f", found, modality, "values", "scale", is_only)
    assert str(refused.value).startswith(message)


def test_subjects_are_the_same_by_their_images_whatever_they_are_called():
    assert [image_identity(name) for name in ("p7@1f3a", "a@b@c", "p7")] == ["1f3a", "c", "p7"]
    assert refusal() is None
    assert refusal(fitted_on=("renamed@22", "again@11")) is None, "in any order, under any name"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (("a@11",), "training subjects with b@22"),
        (("a@11", "b@22", "c@33"), "training subjects without c@33"),
        (("a@11", "b@99"), "training subjects without b@99 and with b@22"),
        (("c@33",), "training subjects without c@33 and with a@11, b@22"),
    ],
)
def test_other_training_subjects_make_values_stale(now, said):
    assert refusal(fitted_on=now) == (
        f"v.json: these values are stale, fitted with {said}; delete the file to fit them anew, or name another "
        "scale_ref_file"
    )


def test_of_many_subjects_the_first_three_are_named():
    many = [f"s{number}@{number}" for number in range(9)]
    assert "without s0@0, s1@1, s2@2 and 4 more;" in refusal(FittedValues({}, fitted_on=("s7@7", "s8@8")), many)


def test_other_steps_before_and_other_settings_make_values_stale_and_all_is_told():
    told = refusal(preparation="none", fitted_on=(), differences=["power 1, now 2"])
    parts = ("power 1, now 2; steps before 'n4(x=1)', now 'none'; training subjects with a@11, b@22",)
    assert f"fitted with {parts[0]}; delete" in told


def test_what_is_not_told_or_not_asked_passes():
    unknown = FittedValues({"mean": 1.0})
    assert refusal(unknown, ("x@1",), "anything") is None
    assert refusal(fitted_on=None) is None
    assert refusal(preparation=None) is None
