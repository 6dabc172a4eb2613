"""Fixtures for every test: the folder of real images, and a quiet TensorFlow; slow tests in turn.

`pytest --in-turn 6` runs a sixth of the slow tests that carry no `ci_sample`, and the next sixth at the next commit, so
that each is run every sixth time. `--in-turn-seconds` begins no further test after so long; the sixth begins
elsewhere when its turn comes again, so that no test is always left out. Only one that says of itself that it takes
longer than that, `@pytest.mark.slow(minutes=13)`, is left to be run by hand.
"""

import importlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from sfgkeras.extras import EXTRAS, missing_packages, pip_command

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

REAL_DATA = Path(os.environ.get("SFGKERAS_REAL_DATA", Path(__file__).parents[2] / "shared" / "data"))
AXE = Path(os.environ.get("SFGKERAS_AXE", Path(__file__).parents[1] / "node_modules" / "axe-core" / "axe.min.js"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; tests that use it carry the mark `real_data`."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no real images at {REAL_DATA}; set SFGKERAS_REAL_DATA")
    return REAL_DATA


def find_chromium() -> str | None:
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.fixture
def launch_browser():
    """Returns a function: whether it shall draw with WebGL 2 -> a headless Chromium, installed or playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    opened = []
    with playwright.sync_playwright() as driver:
        executable = find_chromium()
        if executable is None and not os.path.exists(driver.chromium.executable_path):
            pytest.skip("no Chromium here: install the package chromium, or run `playwright install chromium`")

        def launch(webgl: bool):
            # Drawn by the processor: the machines that test have no graphics card.
            flags = ["--enable-unsafe-swiftshader", "--use-angle=swiftshader"] if webgl else ["--disable-3d-apis"]
            quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
            # Chromium refuses to make its sandbox for root, the user of many containers.
            sandbox = os.geteuid() != 0
            found = driver.chromium.launch(executable_path=executable, chromium_sandbox=sandbox, args=flags + quiet)
            opened.append(found)
            return found

        yield launch
        for found in opened:
            found.close()


@pytest.fixture
def axe() -> str:
    """The script of axe-core, which is not part of the project: 653 kB under MPL-2.0, of use to tests only."""
    if not AXE.is_file():
        pytest.skip(f"no axe-core at {AXE}: run `npm install --no-save axe-core`, or set SFGKERAS_AXE")
    return AXE.read_text(encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--in-turn", type=int, metavar="N", help="run one of N parts of the tests; which one changes")
    parser.addoption("--in-turn-seconds", type=float, default=600.0, help="begin no further test after so long")
    parser.addoption("--turn", type=int, help="number of the part; by default that of the commit, or of the day")


def this_turn(folder: Path) -> int:
    """Returns the number of commits before and with this one, or of days where there is no repository."""
    command = ["git", "-C", str(folder), "rev-list", "--count", "HEAD"]
    try:
        return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return int(time.time() // 86_400)


def in_turn(names: Sequence[str], parts: int, turn: int) -> list[str]:
    """Returns the part of some names whose turn it is, from another one on every time.

    Args:
        names: All names.
        parts: In how many parts they are run.
        turn: Counts up.
    """
    part = sorted(names)[turn % parts :: parts]
    first = turn // parts % max(len(part), 1)
    return part[first:] + part[:first]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    parts = config.getoption("--in-turn")
    if not parts:
        return
    turn = config.getoption("--turn")
    chosen = {item.nodeid: item for item in items if _is_slow_and_unsampled(item)}
    names = in_turn(list(chosen), parts, this_turn(config.rootpath) if turn is None else turn)
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in names])
    items[:] = [chosen[name] for name in names]
    config.stash[_DEADLINE] = time.monotonic() + config.getoption("--in-turn-seconds")


def _is_slow_and_unsampled(item: pytest.Item) -> bool:
    return item.get_closest_marker("slow") is not None and item.get_closest_marker("ci_sample") is None


def _missing_extra(error: BaseException) -> str | None:
    """Returns the missing extra that an error is about: one that asks for it, or that could not import its module."""
    asked = _EXTRA.findall(str(error))
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").partition(".")[0]
        asked += [extra for extra, modules in EXTRAS.items() if module in modules]
    return next((extra for extra in asked if extra in EXTRAS and missing_packages(extra)), None)


_EXTRA = re.compile(r'pip install "sfgkeras\[(\w+)\]"')


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Skips a test that ends with the request to install an extra which is indeed missing, as in the lean core."""
    report = yield
    missing = _missing_extra(call.excinfo.value) if call.excinfo else None
    if missing:
        reason = f"Skipped: needs {pip_command(missing)}"
        report.outcome, report.longrepr = "skipped", (str(item.path), item.location[1] or 0, reason)
    return report


_DEADLINE = pytest.StashKey[float]()


def pytest_runtest_setup(item: pytest.Item) -> None:
    deadline = item.config.stash.get(_DEADLINE, None)
    if deadline is None:
        return
    seconds = 60 * max(mark.kwargs.get("minutes", 0) for mark in item.iter_markers("slow"))
    if seconds > item.config.getoption("--in-turn-seconds"):
        pytest.skip(f"takes {seconds // 60} minutes, longer than a turn (--in-turn-seconds): run it by hand")
    if time.monotonic() + seconds > deadline:
        pytest.skip("the time of this turn is over (--in-turn-seconds)")


class Noted:
    """What a function was called with."""

    def __init__(self, result=None):
        self.result, self.arguments, self.options = result, None, None

    def __call__(self, *arguments, **options):
        self.arguments, self.options = arguments, options
        return self.result


@pytest.fixture
def noted(monkeypatch):
    """Returns a function: module, name, result -> what stands there now and notes its call."""

    def put(module, name, result=None):
        found = Noted(result)
        monkeypatch.setattr(importlib.import_module(module), name, found)
        return found

    return put
