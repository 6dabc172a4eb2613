"""The documentation's site: its hooks, and that it is built without a warning."""

import functools
import http.server
import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = """# A page

```console run
$ printf 'one\\n%s\\n' \\
    two > numbers.txt
$ cat numbers.txt
$ pwd
```

```ini run some.ini
[A]
key = 1
```

```python run
print(open("some.ini").read().split())
```

```console
$ not run
```

[The numbers](run:numbers.txt), [the code](../tests/test_site.py).
"""


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_hooks"] = module
    sys.path.insert(0, str(ROOT / "docs"))  # as mkdocs does
    spec.loader.exec_module(module)
    sys.path.remove(str(ROOT / "docs"))
    yield module
    del sys.modules["docs_hooks"], sys.modules["notebook_pages"]


def test_what_blocks_say_stands_below_their_commands_and_files_are_kept(hooks):
    ran = hooks.run_page(PAGE, "page.md")
    assert ran.files == {"numbers.txt": b"one\ntwo\n"}
    text = hooks.with_results(PAGE, ran, "page_results")
    assert "$ cat numbers.txt\none\ntwo\n$ pwd\n/home/me\n```" in text
    assert "```ini\n[A]\nkey = 1\n```" in text
    assert "```text\n['[A]', 'key', '=', '1']\n```" in text
    assert "```console\n$ not run\n```" in text
    assert "[The numbers](page_results/numbers.txt)" in text
    assert " run" not in "".join(line for line in text.splitlines() if line.startswith("```"))


@pytest.mark.parametrize(
    ("page", "message"),
    [
        ("```console run\n$ echo said; exit 3\n```\n", "exit code 3 of\n.*said"),
        ("```console run\n$ false\n$ true\n```\n", "exit code 1"),
        ("```python run\nprint(1 / 0)\n```\n", "ZeroDivisionError"),
        ("[x](run:gone.png)\n", "has written gone.png"),
    ],
)
def test_a_command_that_fails_or_leaves_nothing_ends_the_build(hooks, page, message):
    with pytest.raises(hooks.TutorialError, match=f"(?s)a.md: .*{message}"):
        hooks.run_page(page, "a.md")


def test_a_command_that_takes_too_long_ends_the_build_with_the_page_and_what_it_was(hooks, monkeypatch):
    monkeypatch.setattr(hooks, "LONGEST", 0.2)
    with pytest.raises(hooks.TutorialError, match=r"(?s)a\.md: not done after 0\.2 s:.*sleep 30"):
        hooks.run_page("```console run\n$ sleep 30\n```\n", "a.md")


def test_a_page_is_run_once_until_its_text_changes(hooks, tmp_path):
    counter = tmp_path / "count"
    page = f"```console run\n$ echo x >> {counter}\n$ cp {counter} here\n```\n[it](run:here)\n"
    first = hooks.kept_or_run(page, "a.md", tmp_path / "cache")
    assert hooks.kept_or_run(page, "a.md", tmp_path / "cache") == first
    assert counter.read_text() == "x\n"
    hooks.kept_or_run(page.replace("cp", "cp -f"), "a.md", tmp_path / "cache")
    assert counter.read_text() == "x\nx\n"


def test_without_running_links_to_results_are_plain_and_links_to_code_are_names(hooks):
    text = hooks.to_code(hooks.without_results(PAGE))
    assert "```console\n$ printf" in text
    assert "*The numbers*, the code." in text


def test_links_to_notebooks_lead_to_their_pages_and_those_of_the_pages_to_the_notebooks(hooks):
    assert (
        hooks.to_pages("[a](notebooks/a.ipynb) [b](../notebooks/b.ipynb)")
        == "[a](notebooks/a.md) [b](../notebooks/b.md)"
    )
    assert hooks.to_pages("[The notebook of this page](a.ipynb)") == "[The notebook of this page](a.ipynb)"


def build(folder, **environment):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    settings = {**os.environ, "NO_MKDOCS_2_WARNING": "1", **environment}
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.ci_sample
def test_the_site_is_built_without_a_warning_and_names_every_page(tmp_path):
    pytest.importorskip("mkdocs")
    done = build(tmp_path / "site", SFGKERAS_TUTORIALS="shown")
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    assert (tmp_path / "site" / "tutorials" / "physicist" / "index.html").is_file()
    for path in (ROOT / "docs" / "notebooks").glob("*.ipynb"):
        page = (tmp_path / "site" / "notebooks" / path.stem / "index.html").read_text("utf-8")
        assert f'href="../{path.name}"' in page
        assert (tmp_path / "site" / "notebooks" / path.name).read_bytes() == path.read_bytes()
    api = (tmp_path / "site" / "api" / "layers" / "index.html").read_text("utf-8")
    assert "FilterGrouping" in api
    assert "shared" in api
    # Examples are code, with prompts in colour, and no notes with their text run together.
    assert '<span class="gp">&gt;&gt;&gt; </span>' in api
    assert api.count("&gt;&gt;&gt;") == api.count('<span class="gp">&gt;&gt;&gt; </span>')


@pytest.mark.slow
@pytest.mark.parametrize("name", ["physicist", "researcher", "engineer"])
def test_a_tutorial_runs_as_it_stands(hooks, name):
    page = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text("utf-8")
    assert hooks.run_page(page, name).blocks


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *values):
        pass


@pytest.fixture
def served():
    """Returns a function: folder -> the address at which a browser finds it."""
    servers = []

    def serve(folder):
        handler = functools.partial(Quiet, directory=str(folder))
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


SEVERE = """async () => {
  const found = await axe.run(document, {resultTypes: ["violations"]});
  const severe = found.violations.filter((rule) => ["serious", "critical"].includes(rule.impact));
  return severe.map((rule) => rule.id + ": " + rule.nodes.map((node) => node.target.join(" ")).join(", "));
}"""


@pytest.mark.slow(minutes=6)
def test_axe_finds_nothing_serious_on_any_page_of_the_site(tmp_path, axe, launch_browser, served):
    pytest.importorskip("mkdocs")
    done = build(tmp_path, SFGKERAS_TUTORIALS="shown")
    assert done.returncode == 0, done.stderr
    address, browser, found = served(tmp_path), launch_browser(webgl=False), []
    for width, scheme in ((1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page.on("console", lambda said, to=found: to.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error, to=found: to.append(str(error)))
        for path in sorted(tmp_path.rglob("*.html")):
            name = path.relative_to(tmp_path).as_posix()
            page.goto(address + name)
            page.evaluate(axe)
            found += [f"{name} {width} {scheme}: {rule}" for rule in page.evaluate(SEVERE)]
            if page.evaluate("document.documentElement.scrollWidth") > width:
                found.append(f"{name} {width} {scheme}: is wider than the screen")
        page.close()
    assert found == []
