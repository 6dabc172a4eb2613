"""The overview page of an output folder: every subject with its picture, and what failed first."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from sfgkeras.data.files import replacing
from sfgkeras.errors import counted
from sfgkeras.preprocessing.job import PICTURES, PROVENANCE
from sfgkeras.preprocessing.manifest import FAILED, Record

OVERVIEW = "overview.html"
_STYLE = """
body { font-family: system-ui, sans-serif; margin: 2em auto; max-width: 1100px; color: #222; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #ddd; padding: 0.4em 0.6em; text-align: left; vertical-align: top; }
img { width: 560px; max-width: 100%; }
.failed { color: #a00000; }
code { white-space: pre-wrap; }
"""


def write_overview(folder: Path, records: Mapping[str, Record], steps: str, landmarks: Path | None) -> Path:
    """Writes `overview.html` in an output folder.

    Args:
        folder: The output folder; pictures are linked from there.
        records: The last row of every subject.
        steps: The steps with their settings, as text.
        landmarks: The file of landmarks, if any.

    Returns:
        The page.
    """
    rows = [records[name] for name in sorted(records)]
    failed = [record for record in rows if record.status == FAILED]
    body = [
        "<h1>Preprocessing</h1>",
        f"<p>{len(rows) - len(failed)} of {counted(len(rows), 'subject')} done, {len(failed)} failed.</p>",
        f"<p>Steps: <code>{html.escape(steps)}</code></p>",
    ]
    if landmarks is not None:
        body.append(f"<p>Landmarks: <code>{html.escape(str(landmarks))}</code></p>")
    if failed:
        body += [
            '<h2 class="failed">Failed</h2>',
            _table(("subject", "why"), [_failure(record) for record in failed]),
        ]
    done = [record for record in rows if record.status != FAILED]
    if done:
        cells = [_success(folder, record) for record in done]
        body += ["<h2>Done</h2>", _table(("subject", "seconds", "before and after"), cells)]
    page = (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Preprocessing</title>'
        f"<style>{_STYLE}</style></head>\n<body>\n{chr(10).join(body)}\n</body></html>\n"
    )
    path = folder / OVERVIEW
    with replacing(path) as stream:
        stream.write(page.encode())
    return path


def _failure(record: Record) -> tuple[str, str]:
    return html.escape(record.subject_id), f'<span class="failed">{html.escape(record.message)}</span>'


def _success(folder: Path, record: Record) -> tuple[str, str, str]:
    name = html.escape(record.subject_id)
    link = f'<a href="{quote(f"{PROVENANCE}/{record.subject_id}.json")}">{name}</a>'
    picture = f"{PICTURES}/{record.subject_id}.png"
    shown = f'<img loading="lazy" alt="{name}" src="{quote(picture)}">' if (folder / picture).is_file() else ""
    return link, html.escape(record.seconds), f"{shown}<br>{html.escape(record.message)}"


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{title}</th>" for title in titles)
    lines = ["<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows]
    return f"<table><tr>{head}</tr>\n{chr(10).join(lines)}\n</table>"
