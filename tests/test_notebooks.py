"""The notebooks of the documentation: kept without outputs, and run to their end as pages."""

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
NAMES = [path.stem for path in NOTEBOOKS]


@pytest.fixture(scope="module")
def notebook_pages():
    spec = importlib.util.spec_from_file_location("notebook_pages", ROOT / "docs" / "notebook_pages.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["notebook_pages"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["notebook_pages"]


@pytest.fixture(scope="module")
def jupyter():
    for name in ("nbformat", "nbconvert", "ipykernel"):
        pytest.importorskip(name, reason=f'needs {name} (pip install -e ".[docs]")')


def notebook_of(*cells):
    """A notebook of code cells: source, and alt text or None."""
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    parts = [new_code_cell(source, metadata={"alt": alt} if alt else {}) for source, alt in cells]
    return new_notebook(cells=[new_markdown_cell("# Title"), *parts])


def test_there_are_notebooks():
    assert {"keras_layers", "runs"} <= set(NAMES)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_is_kept_without_what_its_cells_gave(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    told = f"jupyter nbconvert --clear-output --inplace {path.relative_to(ROOT)}"
    assert [cell["outputs"] for cell in code] == [[]] * len(code), told
    assert [cell["execution_count"] for cell in code] == [None] * len(code), told
    # Nothing of the machine on which it was written.
    assert notebook["metadata"] == {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_stands_in_the_navigation(name):
    assert f": notebooks/{name}.md\n" in (ROOT / "mkdocs.yml").read_text(encoding="utf-8")


def test_a_notebook_that_is_not_run_shows_its_words_and_its_code(notebook_pages, tmp_path):
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Words."]},
        {"cell_type": "code", "source": ["one()\n", "two()"]},
    ]
    (tmp_path / "hills.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    text = notebook_pages.as_plain_page(tmp_path / "hills.ipynb")
    assert text == ("# Title\n\n[The notebook of this page](hills.ipynb)\nWords.\n\n```python\none()\ntwo()\n```\n")


def test_a_page_has_words_for_pictures_and_nothing_of_the_machine(notebook_pages, jupyter):
    from nbformat.v4 import new_output

    notebook = notebook_of(("draw()", "A hill"), ("frame", None))
    notebook.cells[1].outputs = [new_output("display_data", {"image/png": "AAAA", "text/plain": "<Figure>"})]
    html = '<div>\n<style scoped>\n  td {}\n</style>\n<table border="1" class="dataframe"></table></div>'
    notebook.cells[2].outputs = [
        new_output("stream", name="stdout", text="one\n"),
        new_output("stream", name="stdout", text="two\n"),
        new_output("execute_result", {"text/html": html, "text/plain": "frame"}),
    ]
    text, files = notebook_pages.as_page(notebook, "hills")
    assert text.startswith("# Title\n\n[The notebook of this page](hills.ipynb)\n")
    assert files == {"hills_results/hills_1_0.png": b"\0\0\0"}
    assert "![A hill](hills_results/hills_1_0.png)" in text
    assert "    one\n    two\n" in text
    assert "<table></table>" in text
    assert "style" not in text


def test_a_picture_without_words_ends_the_build(notebook_pages, jupyter):
    from nbformat.v4 import new_output

    notebook = notebook_of(("draw()", None))
    notebook.cells[1].outputs = [new_output("display_data", {"image/png": "AAAA"})]
    with pytest.raises(notebook_pages.NotebookError, match=re.escape("hills.ipynb: cell 1 draws")):
        notebook_pages.as_page(notebook, "hills")


SAMPLE = ("keras_layers",)
"""Half a minute each; the others take a minute, and are run in turn."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [pytest.param(p, id=p.stem, marks=[pytest.mark.ci_sample] if p.stem in SAMPLE else []) for p in NOTEBOOKS]
)
def test_a_notebook_runs_as_it_stands(path, notebook_pages, jupyter):
    notebook = notebook_pages.run(notebook_pages.read(path), ROOT)
    text, files = notebook_pages.as_page(notebook, path.stem)
    drawn = [cell for cell in notebook.cells if "alt" in cell.metadata]
    assert len(files) == len(drawn) >= 3
    assert all(content.startswith(b"\x89PNG") for content in files.values())
    # Neither paths of this machine nor what libraries say of it.
    assert str(ROOT) not in text
    assert "0000 00:00" not in text
