from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from sfgkeras.preprocessing.settings import describe, fill_settings, require
from sfgkeras.settings import Settings, setting


@dataclass(frozen=True)
class Sample(Settings):
    size: int = setting(3, "How many.")
    rate: float | None = setting(None, "How fast.", ge=0)
    pair: tuple[float, float] = setting((0.0, 1.0), "From and to.")
    many: tuple[int, ...] = setting((1,), "Several.")
    flag: bool = setting(False, "Whether.")
    place: Path | None = setting(None, "Where.")

    def __post_init__(self):
        super().__post_init__()
        require(self.size > 0, "size", self.size, "must be positive")


def filled(**texts):
    return fill_settings(Sample, {name: (f"short_{name}", text) for name, text in texts.items()}, "step")


def test_texts_become_values_of_the_fields_types():
    settings, problems = filled(size="5", rate="1/2", pair="-1, 1", many="4,5,6", flag="y", place="a/b")
    assert problems == []
    assert settings == Sample(5, 0.5, (-1.0, 1.0), (4, 5, 6), True, Path("a/b"))


def test_values_are_read_as_their_texts_would_be():
    settings, _ = filled(size=np.int64(5), rate=None, pair=[0, 2.5], many=7, flag=True, place=Path("a, b"))
    assert settings == Sample(5, None, (0.0, 2.5), (7,), True, Path("a, b"))
    settings, _ = filled(rate=np.float32(0.5), pair=np.array([0.1, 0.2]))
    assert settings == Sample(rate=0.5, pair=(0.1, 0.2))


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ({"size": "two"}, "short_size = 'two' is not a whole number"),
        ({"size": "2.5"}, "short_size = '2.5' is not a whole number"),
        ({"size": "3.0"}, "short_size = '3.0' is not written as a whole number; write 3"),
        ({"size": "-1"}, "short_size = '-1' must be positive"),
        ({"rate": "nan"}, "short_rate = 'nan' is not a number"),
        ({"rate": "-1"}, "short_rate = '-1' must be at least 0"),
        ({"pair": "1"}, "short_pair = '1' has 1 values where 2 belong; separate them by commas"),
        ({"pair": "0;1"}, "short_pair = '0;1' has an element '0;1' that is not a number"),
        ({"flag": "maybe"}, "short_flag = 'maybe' is neither yes nor no; write yes or no"),
        ({"seize": "1"}, "short_seize = '1' is not known, did you mean 'size'?"),
    ],
)
def test_every_mistake_names_key_value_and_remedy(texts, problem):
    settings, problems = filled(**texts)
    assert settings is None
    assert [str(each) for each in problems] == [problem]


def test_all_mistakes_are_named_at_once():
    _, problems = filled(size="x", rate="y", flag="z")
    assert [problem.key for problem in problems] == ["short_size", "short_rate", "short_flag"]


def test_a_default_that_does_not_fit_is_named_by_the_step():
    @dataclass(frozen=True)
    class Narrow(Settings):
        low: float = setting(0.0, "From.")
        high: float = setting(1.0, "To.")

        def __post_init__(self):
            require(self.low < self.high, "high", self.high, "must be above low")

    _, (problem,) = fill_settings(Narrow, {"low": ("low", "2")}, "step")
    assert str(problem) == "step_high = 1.0 must be above low"


def test_described_settings_are_plain_values():
    assert describe(Sample(place=Path("x"))) == {
        "size": 3, "rate": None, "pair": [0.0, 1.0], "many": [1], "flag": False, "place": "x",
    }  # fmt: skip
