"""What names say, and that the letters' case and a trailing digit say nothing."""

import pytest

from sfgkeras.applications.planning.words import is_body, is_kind, meaning, parts_of


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("T1w",), "mr"),
        (("flair",), "mr"),
        (("FLAIR2",), "mr"),
        (("CBCT",), "ct"),
        (("ct-1",), "ct"),
        (("T2map",), "quantity"),  # a map of T2 times, not a T2 image
        (("dose",), "quantity"),
        (("tumour",), "labels"),
        (("tumor", "t2"), "labels"),
        (("adc", "dwi"), "quantity"),
        (("ct", "mr"), "ct"),
        (("patient",), ""),
        (("ctx",), ""),
        (("masked",), ""),
        ((), ""),
    ],
)
def test_meanings(words, expected):
    assert meaning(words) == expected
    assert meaning(tuple(word.upper() for word in words)) == expected


@pytest.mark.parametrize(
    ("word", "expected"), [("desc-brain", True), ("desc-", False), ("sub-01", False), ("t1.seg", True), ("x-y", False)]
)
def test_entities_and_parts_of_words_are_known(word, expected):
    assert is_kind(word) == expected


def test_parts_are_between_hyphens_points_and_spaces():
    assert parts_of("-a--b. c.") == ["a", "b", "c"]
    assert parts_of("a_b") == ["a_b"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("Mask",), True),
        (("bodymask",), True),
        (("outline",), True),
        (("mask", "t2"), False),
        (("masks",), False),
        ((), False),
    ],
)
def test_the_outline_of_the_body_has_one_word_for_itself(words, expected):
    assert is_body(words) == expected
