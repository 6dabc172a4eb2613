"""The overview page of an output folder: every subject with its picture, and what failed first."""

import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from sfgkeras import __version__
from sfgkeras.errors import counted
from sfgkeras.files import replacing
from sfgkeras.pages.elements import Cell, cells_html, code, facts_html, link, paragraph, thumbnail_html
from sfgkeras.pages.page import Header, Section, page_html
from sfgkeras.preprocessing.folder.job import PICTURES, PROVENANCE
from sfgkeras.preprocessing.folder.manifest import FAILED, Record
from sfgkeras.preprocessing.pipeline import Pipeline

OVERVIEW = "overview.html"
THUMBNAIL = 560


def write_overview(folder: Path, records: Mapping[str, Record], pipeline: Pipeline, fitted: Mapping[str, Path]) -> Path:
    """Writes `overview.html` in an output folder.

    Args:
        folder: The output folder; pictures are linked from there.
        records: The last row of every subject.
        pipeline: The steps with their settings.
        fitted: The files of what steps were fitted to, by step.

    Returns:
        The page.
    """
    rows = [records[name] for name in sorted(records)]
    failed = [record for record in rows if record.status == FAILED]
    done = [record for record in rows if record.status != FAILED]
    count = f"{len(done)} of {counted(len(rows), 'subject')} done, {len(failed)} failed"
    steps_text = paragraph(Markup("Steps: {}").format(code(pipeline.text())))
    for step in pipeline.fitted:
        what = f"{step.step.file.what.capitalize()} of {step.name}"
        steps_text += paragraph(Markup("{}: {}").format(what, code(str(fitted[step.name]))))
    facts = {"Done": str(len(done)), "Failed": str(len(failed)), "Time in all": f"{_seconds(done):.0f} s"}
    sections = [Section("settings", "What was done", facts_html(facts) + steps_text)]
    if failed:
        sections.append(Section("failed", "Failed", _failures(failed)))
    if done:
        sections.append(Section("done", "Done", _successes(folder, done)))
    made = {
        "Written": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "Versions": f"sfgkeras {__version__}, python {platform.python_version()}",
    }
    header = Header("Preprocessing", f"{count}, in {folder}", made, str(folder))
    page = page_html(header, sections, f"Written by sfgkeras {__version__}.", linked_pictures=True)
    path = folder / OVERVIEW
    with replacing(path) as stream:
        stream.write(page.encode())
    return path


def _seconds(records: Sequence[Record]) -> float:
    return sum(float(record.seconds or 0) for record in records)


def _failures(records: Sequence[Record]) -> Markup:
    rows = [
        [Cell(record.subject_id), Cell(Markup('<span class="failed">{}</span>').format(record.message))]
        for record in records
    ]
    return cells_html([Cell("subject"), Cell("why")], rows, "Subjects that could not be prepared", css="loose")


def _successes(folder: Path, records: Sequence[Record]) -> Markup:
    head = [Cell("subject"), Cell("time (s)", True), Cell("before and after"), Cell("notes")]
    rows = []
    for record in records:
        name = link(quote(f"{PROVENANCE}/{record.subject_id}.json"), record.subject_id)
        picture = f"{PICTURES}/{record.subject_id}.png"
        shown = ""
        if (folder / picture).is_file():
            shown = thumbnail_html(quote(picture), f"{record.subject_id} before and after", THUMBNAIL)
        rows.append([Cell(name), Cell(record.seconds, True), Cell(shown), Cell(record.message)])
    return cells_html(head, rows, "Subjects that are ready; names link to what was done to each", css="loose")
