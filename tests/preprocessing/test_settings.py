from dataclasses import dataclass
from pathlib import Path

import pytest

from sfgkeras.preprocessing.settings import build_settings, describe, parse_value, require


@dataclass(frozen=True)
class Sample:
    size: int = 3
    rate: float | None = None
    pair: tuple[float, float] = (0.0, 1.0)
    many: tuple[int, ...] = (1,)
    flag: bool = False
    place: Path | None = None

    def __post_init__(self):
        require(self.size > 0, "size", self.size, "must be positive")


def filled(**texts):
    return build_settings(Sample, {name: (f"step_{name}", text) for name, text in texts.items()})


def test_texts_become_values_of_the_fields_types():
    settings, problems = filled(size="5", rate="2.5", pair="-1, 1", many="4,5,6", flag="yes", place="a/b")
    assert problems == []
    assert settings == Sample(5, 2.5, (-1.0, 1.0), (4, 5, 6), True, Path("a/b"))


def test_values_pass_as_they_are_and_none_is_none():
    settings, _ = filled(size=5, rate="none", pair=[0, 2], many=7, flag=True, place=None)
    assert settings == Sample(5, None, (0.0, 2.0), (7,), True, None)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ({"size": "two"}, "step_size = 'two' is not a number"),
        ({"size": "2.5"}, "step_size = '2.5' is not a whole number"),
        ({"size": "-1"}, "step_size = '-1' must be positive"),
        ({"rate": "nan"}, "step_rate = 'nan' is not a finite number"),
        ({"pair": "1"}, "step_pair = '1' has 1 values where 2 belong; separate them by commas"),
        ({"many": ""}, "step_many = '' is empty"),
        ({"flag": "maybe"}, "step_flag = 'maybe' is neither yes nor no; write yes or no"),
        ({"seize": "1"}, "unknown setting 'step_seize', did you mean 'size'?"),
    ],
)
def test_every_mistake_names_key_value_and_remedy(texts, problem):
    settings, problems = filled(**texts)
    assert settings is None
    assert [text for _, text in problems] == [problem]


def test_all_mistakes_are_named_at_once():
    _, problems = filled(size="x", rate="y", flag="z")
    assert [key for key, _ in problems] == ["step_size", "step_rate", "step_flag"]


def test_described_settings_are_plain_values():
    assert describe(Sample(place=Path("x"))) == {
        "size": 3, "rate": None, "pair": [0.0, 1.0], "many": [1], "flag": False, "place": "x",
    }  # fmt: skip


def test_a_whole_float_is_a_whole_number():
    assert parse_value("3.0", int) == 3
