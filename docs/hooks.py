"""What the site does besides mkdocs: runs tutorials and notebooks and shows what they say and draw; links to the code.

A fenced block whose first line ends in `run` is run when the site is built, in one new folder for each page:

- `console run`: lines that begin with `$ ` are commands of the shell; what they say is shown below them;
- `python run`: a program; what it prints is shown in a block below;
- `ini run NAME`: is written to the file NAME.

`](run:PATH)` links to, or shows, a file that has come of it. A command that fails ends the build with what it said.
Every notebook of `docs/notebooks/` is run and becomes a page (`notebook_pages.py`). What a page's blocks or a notebook
gave is kept in `.cache/tutorials/`, by their text and the package's files, and used again. With
SFGKERAS_TUTORIALS=shown nothing is run, and links to what would have come are plain text.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import notebook_pages

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "tutorials"
BLOCK = re.compile(r"^```(console|python|ini) run ?([\w./-]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OF_A_RUN = re.compile(r"(!?)\[([^\]]*)\]\(run:([^)]+)\)")
PLAINLY = "shown"
"""Value of SFGKERAS_TUTORIALS with which nothing is run."""

ROOMS = ("sfgkeras", "applications", "preprocessing", "ini_configs", "benchmarks", "tests")
OUTSIDE = re.compile(rf"\[([^\]]*)\]\((?:\.\./)+(?:{'|'.join(ROOMS)})/[^)]*\)")
NOTEBOOK = re.compile(r"\]\(((?:\.\./)*notebooks/\w+)\.ipynb\)")
LONGEST = 1800.0
"""Seconds that a command may take."""


class TutorialError(Exception):
    """A command of a tutorial failed; mkdocs stops at it."""


@dataclass
class Ran:
    """What came of a page: the text of every block as it is shown, and the files that the page asks for."""

    blocks: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)


def run_page(markdown: str, page: str) -> Ran:
    """Runs the blocks of a page in a new folder.

    Raises:
        TutorialError: If a command fails, or leaves no file that the page links to.
    """
    ran = Ran()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for kind, name, body in BLOCK.findall(markdown):
            if kind == "ini":
                (folder / name).write_text(body, encoding="utf-8")
                ran.blocks.append(shown(kind, body))
            elif kind == "python":
                said = run_command([sys.executable, "-c", body], folder, page, body)
                ran.blocks.append(shown(kind, body) + (f"\n\n```text\n{said}```" if said else ""))
            else:
                ran.blocks.append(shown(kind, "".join(run_console(body, folder, page))))
        for _, _, path in OF_A_RUN.findall(markdown):
            if not (folder / path).is_file():
                raise TutorialError(f"{page}: no command has written {path}")
            ran.files[path] = (folder / path).read_bytes()
    return ran


def run_console(body: str, folder: Path, page: str) -> Iterator[str]:
    """Yields the commands of a block with their continued lines, each followed by what it says."""
    for command in re.findall(r"^\$ (.*(?:(?<=\\)\n.*)*)$", body, re.MULTILINE):
        yield f"$ {command}\n"
        yield run_command(["bash", "-ec", command], folder, page, command)


def run_command(command: list[str], folder: Path, page: str, text: str) -> str:
    """Runs a command and returns its lines, with `/home/me` in place of the folder.

    Raises:
        TutorialError: If its exit code is not zero, or it takes longer than `LONGEST`.
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "COLUMNS": "100", "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=LONGEST, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise TutorialError(f"{page}: not done after {LONGEST:g} s:\n{text}") from error
    if done.returncode:
        raise TutorialError(f"{page}: exit code {done.returncode} of\n{text}\n{done.stdout[-3000:]}")
    return done.stdout.replace(str(folder.resolve()), "/home/me")


def shown(kind: str, body: str) -> str:
    """Returns a block without the word that has it run."""
    return f"```{kind}\n{body.rstrip()}\n```"


def fingerprint(text: str) -> str:
    """Returns what the result of a page depends on, as a name: what it runs, and the code."""
    digest = hashlib.sha256(text.encode())
    for room in ROOMS[:4]:
        for path in sorted((ROOT / room).rglob("*")):
            if path.suffix in (".py", ".ini", ".html", ".css"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def kept_or_run(markdown: str, page: str, cache: Path = CACHE) -> Ran:
    """Returns what came of a page's blocks, from the cache if it was run before."""
    text = repr((BLOCK.findall(markdown), OF_A_RUN.findall(markdown)))
    return kept_or_made(text, lambda: run_page(markdown, page), cache)


def kept_or_made(text: str, make: Callable[[], Ran], cache: Path = CACHE) -> Ran:
    """Returns what `make` does with the code and a text, from the cache if it was made before."""
    name = fingerprint(text)
    index = cache / f"{name}.json"
    if index.is_file():
        kept = json.loads(index.read_text(encoding="utf-8"))
        return Ran(kept["blocks"], {path: (cache / name / str(n)).read_bytes() for n, path in enumerate(kept["files"])})
    ran = make()
    (cache / name).mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(ran.files.values()):
        (cache / name / str(number)).write_bytes(content)
    index.write_text(json.dumps({"blocks": ran.blocks, "files": list(ran.files)}), encoding="utf-8")
    return ran


def run_notebook(path: Path) -> Ran:
    """Returns a notebook's page, as one block, and its pictures."""
    text, files = notebook_pages.as_page(notebook_pages.run(notebook_pages.read(path), ROOT), path.stem)
    return Ran([text], files)


def is_plain() -> bool:
    """Says whether the site is built without running anything."""
    return os.environ.get("SFGKERAS_TUTORIALS") == PLAINLY


def with_results(markdown: str, ran: Ran, link: str) -> str:
    """Returns a page with the results of its blocks; files of the run are looked for below `link`."""
    blocks = iter(ran.blocks)
    text = BLOCK.sub(lambda match: next(blocks), markdown)
    return OF_A_RUN.sub(rf"\1[\2]({link}/\3)", text)


def without_results(markdown: str) -> str:
    """Returns a page whose blocks are shown as they stand, and whose links to results are plain text."""
    text = BLOCK.sub(lambda match: shown(match[1], match[3]), markdown)
    return OF_A_RUN.sub(lambda match: f"*{match[2]}*", text)


def to_code(markdown: str) -> str:
    """Returns a page that names files of the code where it had links to them, which lead out of the site."""
    return OUTSIDE.sub(r"\1", markdown)


def to_pages(markdown: str) -> str:
    """Returns a page that links to the pages of notebooks where it had links to the notebooks."""
    return NOTEBOOK.sub(r"](\1.md)", markdown)


def on_files(files: Any, config: Any) -> Any:
    """mkdocs: adds a page for every notebook; the notebook itself is a file that the page links to."""
    from mkdocs.structure.files import File

    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        path = Path(file.abs_src_path)
        if is_plain():
            ran = Ran([notebook_pages.as_plain_page(path)])
        else:
            ran = kept_or_made(path.read_text(encoding="utf-8"), lambda path=path: run_notebook(path))
        files.append(File.generated(config, f"{file.src_uri.removesuffix('.ipynb')}.md", content=ran.blocks[0]))
        for name, content in ran.files.items():
            files.append(File.generated(config, f"{Path(file.src_uri).parent.as_posix()}/{name}", content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """mkdocs: changes the text of a page before it is rendered."""
    markdown = to_pages(to_code(markdown))
    if not BLOCK.search(markdown):
        return markdown
    if is_plain():
        return without_results(markdown)
    from mkdocs.structure.files import File

    ran = kept_or_run(markdown, page.file.src_uri)
    folder = f"{page.file.src_uri.removesuffix('.md')}_results"
    for path, content in ran.files.items():
        files.append(File.generated(config, f"{folder}/{path}", content=content))
    return with_results(markdown, ran, folder.rsplit("/", 1)[-1])


def on_post_page(output: str, page: Any, config: Any) -> str:
    """mkdocs: gives the theme's search dialog, which has none, a name for screen readers."""
    return with_named_search(output)


def on_post_template(output_content: str, template_name: str, config: Any) -> str:
    """mkdocs: the same on the page for addresses that do not exist."""
    return with_named_search(output_content)


def with_named_search(page: str) -> str:
    """Returns a page of HTML whose search dialog has a name."""
    dialog = 'data-md-component="search" role="dialog"'
    return page.replace(dialog, f'{dialog} aria-label="Search"')
