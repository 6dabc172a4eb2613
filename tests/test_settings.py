"""Settings of what can be chosen: typed by their fields, read from text, checked in Python and in INI files alike."""

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sfgkeras.errors import Problem
from sfgkeras.settings import (
    REQUIRED,
    Settings,
    build_settings,
    described,
    key_of,
    own_settings,
    setting,
    setting_values,
)


@dataclass(frozen=True)
class Toy(Settings):
    rate: float = setting(0.5, "A rate.", gt=0, le=1)
    count: int = setting(3, "A number.", ge=1)
    is_on: bool = setting(False, "A switch.")
    mode: str = setting("soft", "A word.", choices={"soft": "the usual", "hard": "the other"})
    sizes: tuple[int, ...] = setting((4,), "Sizes.", ge=1)
    pair: tuple[float, float] | None = setting(None, "Two numbers.")
    folder: Path | None = setting(None, "A folder.")
    hidden: object = field(default=None)

    def __post_init__(self):
        super().__post_init__()
        if self.pair is not None and self.pair[0] > self.pair[1]:
            raise Problem("has its low end above its high end", "swap them", key="pair", value=self.pair)


@dataclass(frozen=True)
class Needy(Settings):
    file: Path = setting(REQUIRED, "File of the data.")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate", "1/4", 0.25), ("rate", "1e-3", 1e-3), ("count", "7", 7), ("is_on", "y", True), ("is_on", "Off", False),
        ("mode", "HARD", "hard"), ("sizes", "(2, 3)", (2, 3)), ("pair", "0, 1", (0.0, 1.0)), ("pair", "none", None),
        ("pair", "", None), ("folder", "/a b", Path("/a b")),
    ],
)  # fmt: skip
def test_text_is_read_by_the_type_of_the_field(name, text, value):
    built, problems = build_settings(Toy, {name: text})
    assert not problems
    assert setting_values(built) == {**setting_values(Toy()), name: value}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rate", "0", "rate = '0' must be above 0"),
        ("rate", 1.5, "rate = 1.5 must be at most 1"),
        ("rate", "fast", "rate = 'fast' is not a number"),
        ("rate", "0,5", "rate = '0,5' is not a number; write 0.5"),
        ("count", "2.5", "count = '2.5' is not a whole number"),
        ("is_on", "maybe", "is_on = 'maybe' is neither yes nor no; write yes or no"),
        ("mode", "sof", "mode = 'sof' is not known, did you mean 'soft'? choose one of soft, hard"),
        ("sizes", "4, 0", "sizes = '4, 0' has an element 0 that must be at least 1"),
        ("pair", "1, 2, 3", "pair = '1, 2, 3' has 3 values where 2 belong; separate them by commas"),
        ("pair", "2, 1", "pair = '2, 1' has its low end above its high end; swap them"),
        ("rat", "1", "rat = '1' is not known, did you mean 'rate'?"),
        ("hidden", "1", "hidden = '1' is not known; known are rate, count, is_on, mode, sizes, pair, folder"),
    ],
)
def test_a_mistake_names_key_value_and_remedy(name, value, message):
    built, problems = build_settings(Toy, {name: value})
    assert built is None
    assert [str(problem) for problem in problems] == [message]
    assert (problems[0].key, problems[0].value) == (name, value)


def test_settings_made_in_python_are_checked_too():
    with pytest.raises(Problem, match=r"rate = 0 must be above 0"):
        Toy(rate=0)
    with pytest.raises(Problem, match=r"mode = 'weak' is not known"):
        Toy(mode="weak")
    with pytest.raises(Problem, match=r"sizes = \(4, 0\) has an element 0 that must be at least 1"):
        Toy(sizes=(4, 0))


def test_a_setting_without_default_is_asked_for():
    assert [str(problem) for problem in build_settings(Needy, {})[1]] == ["file is missing; give file of the data"]
    assert build_settings(Needy, {"file": "a.h5"})[0] == Needy(Path("a.h5"))


def test_every_mistake_is_told_at_once():
    _, problems = build_settings(Toy, {"rate": "2", "count": "0", "nothing": "1"})
    assert [problem.key for problem in problems] == ["rate", "count", "nothing"]


def test_nothing_can_be_set_where_there_are_no_settings():
    assert build_settings(None, {}) == (None, [])
    assert [str(problem) for problem in build_settings(None, {"a": "1"})[1]] == ["a = '1' is not known; known are none"]


def test_the_reference_knows_form_and_bounds():
    forms = {name: each.form for name, each in described(Toy).items()}
    assert forms["rate"] == "number, > 0, <= 1"
    assert forms["mode"] == "`soft` / `hard`"
    assert forms["pair"] == "2 numbers"
    assert "hidden" not in forms
    assert described(Toy)["mode"].description == "A word. `soft`: the usual; `hard`: the other."


def test_a_type_that_no_text_can_be_read_as_is_the_programmers_mistake():
    @dataclass(frozen=True)
    class Odd:
        table: dict = setting(None, "A table.")

    with pytest.raises(TypeError, match="say how with setting"):
        described(Odd)


def test_a_problem_is_worded_of_its_parts_in_one_place():
    problem = Problem("is not known", "did you mean 'lr'?", key="rl", value="3")
    assert str(problem) == "rl = '3' is not known, did you mean 'lr'?"
    placed = problem.at(file="a.ini", line=7, section="TRAINING")
    assert str(placed) == "a.ini:7: [TRAINING] rl = '3' is not known, did you mean 'lr'?"
    assert str(problem.at(option="--TRAINING.rl", section="TRAINING")).startswith("--TRAINING.rl: [TRAINING] rl = '3' ")


class Base:
    def __init__(self, name="base", size=3):
        self.name, self.size = name, size


class Own(Base):
    """Adds arguments."""

    def __init__(self, first, *rest, rate: float = 0.5, steps=2, sizes: tuple[int, ...] = (1,), other=None, **more):
        super().__init__(**more)


class Stated(Base):
    """Says its settings."""

    Settings = Toy

    def __init__(self, rate=0.5, **more):
        super().__init__(**more)


def test_settings_of_a_user_s_class_are_the_arguments_that_it_adds():
    settings = own_settings(Own, Base)
    assert {name: each.default for name, each in described(settings).items()} == {
        "rate": 0.5,
        "steps": 2,
        "sizes": (1,),
    }
    assert setting_values(build_settings(settings, {"steps": "7"})[0]) == {"rate": 0.5, "steps": 7, "sizes": (1,)}
    assert own_settings(Own, Base) is settings
    assert own_settings(Base, Base) is None
    assert own_settings(Stated, Base) is Toy
    assert key_of("my.module.Own", "rate") == "own_rate"


def test_a_default_written_out_is_known_as_such():
    known = described(Toy)
    assert known["rate"].is_default("1/2")
    assert known["pair"].is_default("")
    assert not known["rate"].is_default("0.25")
    assert not known["rate"].is_default("fast")
