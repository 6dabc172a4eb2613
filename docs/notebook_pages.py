"""Notebooks as pages: each is run, and becomes markdown with what its cells say and draw.

A cell that draws says in `metadata.alt` what is seen; notebooks are kept without outputs (tests/test_notebooks.py).
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LONGEST = 900
"""Seconds that a cell may take."""

DRAWN = re.compile(r"!\[png\]\(((?:[^)/]*/)?[^)/]*?_(\d+)_\d+\.png)\)")
STYLE_OF_A_FRAME = re.compile(r"<style scoped>.*?</style>\s*", re.DOTALL)
PLACE_OF_A_WARNING = re.compile(r"^\S+:\d+: (?=\w*Warning: )(.*)\n  .*\n", re.MULTILINE)
"""Path and line of this machine before a warning, and the line of code after it."""

LIBRARIES = re.compile(r"^(?:WARNING: All log messages before absl|[IWE]\d{4} [\d:.]+ ).*\n", re.MULTILINE)
"""What TensorFlow's C++ parts say of the machine."""

QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}


class NotebookError(Exception):
    """A picture of a notebook has no words beside it."""


def read(path: Path) -> Any:
    """Returns a notebook."""
    import nbformat

    return nbformat.read(path, as_version=4)


def as_plain_page(path: Path) -> str:
    """Returns a notebook that is not run as markdown: its words and its code. Nothing but the file is needed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells]
    parts = [
        source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
        for cell, source in zip(cells, sources, strict=True)
    ]
    return with_link("\n\n".join(parts) + "\n", path.stem)


def run(notebook: Any, root: Path) -> Any:
    """Runs all cells in a new folder, with the package below `root`; the notebook then holds what they gave.

    Raises:
        CellExecutionError: If a cell fails.
    """
    from nbconvert.preprocessors import ExecutePreprocessor

    with tempfile.TemporaryDirectory() as folder, _environment({**QUIET, "PYTHONPATH": str(root)}):
        runner = ExecutePreprocessor(timeout=LONGEST, kernel_name="python3")
        done = runner.preprocess(notebook, {"metadata": {"path": folder}})[0]
    for cell in done.cells:
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                output.text = LIBRARIES.sub("", PLACE_OF_A_WARNING.sub(r"\1\n", output.text))
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("text", "-")]
    return done


def as_page(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """Returns a notebook as markdown, and its pictures by the paths that the markdown names.

    Args:
        notebook: It has been run.
        name: Its file's name without the ending, to which the page links.

    Raises:
        NotebookError: If a cell that draws has no `alt` in its metadata.
    """
    from nbconvert import MarkdownExporter

    resources = {"unique_key": name, "output_files_dir": f"{name}_results"}
    exporter = MarkdownExporter()
    exporter.register_preprocessor("nbconvert.preprocessors.CoalesceStreamsPreprocessor", enabled=True)
    text, resources = exporter.from_notebook_node(notebook, resources)
    text = DRAWN.sub(lambda match: f"![{_alt(notebook, name, int(match[2]))}]({match[1]})", text)
    # The site's own style of tables.
    text = STYLE_OF_A_FRAME.sub("", text).replace('<table border="1" class="dataframe">', "<table>")
    return with_link(text.lstrip(), name), resources["outputs"]


def with_link(text: str, name: str) -> str:
    """Returns a page with a link to its notebook below the title."""
    title, rest = text.split("\n", 1)
    return f"{title}\n\n[The notebook of this page]({name}.ipynb)\n{rest}"


def _alt(notebook: Any, name: str, cell: int) -> str:
    words = notebook.cells[cell].metadata.get("alt", "")
    if not words:
        raise NotebookError(f"{name}.ipynb: cell {cell} draws, and has no words for it in its metadata (alt)")
    return words


@contextmanager
def _environment(settings: dict[str, str]) -> Iterator[None]:
    """Sets variables of the environment, which the kernel inherits, for a while."""
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
