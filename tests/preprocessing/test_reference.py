import dataclasses
from pathlib import Path

import pytest

from sfgkeras.preprocessing.reference import with_reference
from sfgkeras.preprocessing.table import STEPS, setting_names
from sfgkeras.settings import described

PAGE = Path(__file__).parents[2] / "docs" / "preprocessing.md"


@pytest.mark.parametrize("step", STEPS)
def test_every_setting_has_a_meaning(step):
    assert [each.name for each in dataclasses.fields(STEPS[step].settings)] == setting_names(step)
    assert all(each.description.endswith(".") for each in described(STEPS[step].settings).values())


def test_the_page_lists_the_steps_and_settings_of_now():
    if not PAGE.is_file():
        pytest.skip("the documentation is not beside the tests")
    page = PAGE.read_text(encoding="utf-8")
    assert with_reference(page) == page, "write docs/preprocessing.md anew with preprocessing.reference.with_reference"
