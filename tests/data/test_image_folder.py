"""Attributes in the names of photos."""

from pathlib import Path

import pytest

from sfgkeras.data import image_folder
from sfgkeras.errors import DataError


@pytest.mark.parametrize("stem", ["26_1_2_20170116174525125", "26_1_2_20170116174525125.jpg.chip"])
def test_age_gender_race_and_date_are_read_from_a_name(stem):
    attributes = image_folder.parse_attributes(stem)
    assert attributes == {"age": 26, "gender": 1, "race": 2, "date": "20170116174525125"}


def test_other_attributes_are_kept_as_text():
    attributes = image_folder.parse_attributes("/photos/7_left_anna.png", ("age", "side", "name"))
    assert attributes == {"age": 7, "side": "left", "name": "anna"}


@pytest.mark.parametrize(
    ("stem", "message"),
    [
        ("61_3_20170109150557335", "has 3 fields where [age]_[gender]_[race]_[date] has 4"),
        ("39_1_20170116174525125", "has 3 fields"),
        ("53__0_20170116184028385", "gender '' in its name is no integer from 0 to 1"),
        ("131_0_0_20170116184028385", "age '131' in its name is no integer from 0 to 130"),
        ("-1_0_0_20170116184028385", "age '-1'"),
        ("4.5_0_0_20170116184028385", "has 1 fields"),
        ("5_3_0_20170116184028385", "gender '3'"),
        ("5_1_5_20170116184028385", "race '5' in its name is no integer from 0 to 4"),
        ("5_1_4_monday", "date 'monday'"),
        ("\u0665_1_4_20170116184028385", "age '\u0665'"),
    ],
)
def test_an_odd_name_is_refused_with_its_field(stem, message):
    with pytest.raises(DataError) as caught:
        image_folder.parse_attributes(stem)
    assert str(caught.value).startswith(f"{stem}: ")
    assert message in str(caught.value)
    assert "rename the photo" in str(caught.value)


def test_photos_with_odd_names_are_left_out_with_a_warning_and_the_others_survive(capsys):
    names = ["61_3_20170109150557335", "26_1_2_20170116174525125", "116_0_0_20170120134921760", "me"]
    table, warnings = image_folder.read_attributes({name: Path(f"faces/{name}.jpg") for name in names})
    assert {name: row["age"] for name, row in table.items()} == {names[1]: 26, names[2]: 116}
    assert [warning.split(": ")[0] for warning in warnings] == [f"faces/{names[0]}.jpg", "faces/me.jpg"]
    assert all("left out" in warning and "\n" not in warning for warning in warnings)
    assert capsys.readouterr() == ("", "")


def test_a_folder_without_one_regular_name_is_refused_with_an_example():
    with pytest.raises(DataError, match=r"none of 2 photos .* e\.g\. faces/a\.jpg: its name has 1 fields"):
        image_folder.read_attributes({"a": Path("faces/a.jpg"), "b": Path("faces/b.jpg")})


@pytest.mark.real_data
def test_names_of_real_pets_list_breed_and_number(real_data):
    photos = sorted((real_data / "pets" / "images").glob("*.jpg"))
    single = {photo.stem: photo for photo in photos if photo.stem.count("_") == 1}
    table, warnings = image_folder.read_attributes(single, ("breed", "number"))
    assert len(table) == len(single) > 10
    assert not warnings
    assert all(row["number"] == stem.split("_")[1] for stem, row in table.items())
