"""docs/sharing.md tells of every mechanism and of every setting that it has in INI files."""

import re
from pathlib import Path

import pytest

from sfgkeras.settings import described
from sfgkeras.sharing import SHARING

PAGE = (Path(__file__).parents[2] / "docs" / "sharing.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", SHARING)
def test_every_mechanism_has_a_section_and_a_line_that_leads_to_it(name):
    assert f"| [`{name}`](#{name}) |" in PAGE
    (section,) = re.findall(rf"^## {name}\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    for part in ("*Formula.*", "*Settings.*", "*Cost.*", "*When.*", "*Source.*"):
        assert part in section
    for setting in described(SHARING[name]):
        assert f"`{setting}`" in section
