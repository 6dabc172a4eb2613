"""Writes the page of a report: its head and foot are the same whatever it reports on."""

from collections.abc import Sequence
from pathlib import Path

import sfgkeras
from sfgkeras.applications.records.files import RunFolder, write_text
from sfgkeras.applications.report.facts import page_facts
from sfgkeras.config import Config
from sfgkeras.pages.page import Header, Section, page_html

PAGE = "report.html"


def write_page(config: Config, run: RunFolder, what: str, sections: Sequence[Section], output: Path) -> Path:
    """Writes a page and returns its file.

    Args:
        config: Names tasks and images.
        run: Its folder is what the page is about.
        what: What the page is, for its title.
        sections: In order.
        output: Folder of the page.
    """
    subject = str(run.path.resolve())
    header = Header(
        f"{run.path.resolve().name}: {what}",
        f"{', '.join(config.tasks)} from {', '.join(config.image)}, in {subject}",
        page_facts(),
        subject,
    )
    footer = f"Written by sfgkeras {sfgkeras.__version__}. The page loads nothing from the network."
    write_text(output / PAGE, page_html(header, sections, footer))
    return output / PAGE
