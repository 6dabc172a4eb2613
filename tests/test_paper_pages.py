"""Every system of a paper has a page, and what the pages show of INI files and commands is what is shipped."""

import re
from pathlib import Path

import pytest

from sfgkeras.config.shipped import find_config, list_configs

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = {path.stem: path.read_text("utf-8") for path in sorted((DOCS / "papers").glob("*.md"))}
CONFIG = re.compile(r"`(?:[\w/]*/)?(\w+)\.ini`\]\(\.\./\.\./ini_configs/(\w+)\.ini\)")
FIELD = re.compile(r"^# (paper|data): *(.*)$", re.MULTILINE)


def configs_of(text):
    return [name for name, _ in CONFIG.findall(text)]


def test_every_file_of_a_paper_is_on_a_page():
    of_papers = {name for name in list_configs() if "# paper:" in find_config(name).read_text("utf-8")}
    assert of_papers == {name for text in PAGES.values() for name in configs_of(text)}


def test_overview_and_navigation_lead_to_every_page():
    overview, navigation = (DOCS / "papers.md").read_text("utf-8"), (ROOT / "mkdocs.yml").read_text("utf-8")
    for name in PAGES:
        assert f"(papers/{name}.md)" in overview
        assert f": papers/{name}.md\n" in navigation


@pytest.mark.parametrize("name", PAGES)
def test_extracts_stand_in_the_file_in_their_order(name):
    config = find_config(configs_of(PAGES[name])[0]).read_text("utf-8")
    sections = dict(re.findall(r"^(\[[^\]\n]+\])\n(.*?)(?=^\[|\Z)", config, re.MULTILINE | re.DOTALL))
    for block in re.findall(r"^```ini\n(.*?)^```$", PAGES[name], re.MULTILINE | re.DOTALL):
        section = ""
        for line in filter(None, block.splitlines()):
            if line.startswith("["):
                section, place = line, 0
                assert section in sections
                continue
            place = sections[section].find(f"{line}\n", place)
            assert place >= 0, f"{name}.md shows {line!r}, which does not stand so in {section} of the file"


@pytest.mark.parametrize("name", PAGES)
def test_commands_begin_with_the_file_and_its_data(name):
    text = PAGES[name]
    config = configs_of(text)[0]
    assert f"    sfgkeras configs {config}\n" in text
    # What a file without drawn data of its own trains on is named in other words.
    for field, value in FIELD.findall(find_config(config).read_text("utf-8")):
        if field == "data":
            assert f"    {value}\n" in text
    assert f"    sfgkeras train -c {config}.ini\n" in text


@pytest.mark.parametrize("name", PAGES)
def test_pictures_are_there_and_small(name):
    for target in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", PAGES[name]):
        picture = DOCS / "papers" / target
        assert picture.is_file()
        assert picture.parent != DOCS / "papers" or picture.stat().st_size < 100_000
