"""axe-core finds nothing on the report, the comparison and the overview: 1280 and 400 pixels wide, light and dark.

axe-core is not part of the project (653 kB under MPL-2.0, of use to tests only): `npm install --no-save axe-core` in
the project's folder, or its `axe.min.js` in $SFGKERAS_AXE.
"""

import numpy as np
import pytest

from sfgkeras.analysis.comparison import Score
from sfgkeras.applications.comparison.plan import PlannedRun
from sfgkeras.applications.comparison.results import Result
from sfgkeras.applications.comparison.tables import write_comparison
from sfgkeras.applications.report.page import write_report
from sfgkeras.preprocessing.folder import run_folder

SCREENS = [(1280, "light"), (1280, "dark"), (400, "light"), (400, "dark")]
RUN = """async () => {
  const found = await axe.run();
  return found.violations.map((rule) => rule.id + ": " + rule.nodes.map((node) => node.target.join(" ")).join(", "));
}"""


def check(path, axe, launch_browser):
    """Opens the page on every screen: no complaint of axe or the console, no scrolling sideways, nothing loaded."""
    browser = launch_browser(webgl=True)
    for width, scheme in SCREENS:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        problems, requests = [], []
        page.on(
            "console", lambda said, to=problems: to.append(said.text) if said.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error, to=problems: to.append(str(error)))
        page.on("request", lambda request, to=requests: to.append(request.url))
        page.goto(path.as_uri())
        if page.locator(".chart").count():
            page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 5")
        if page.locator(".planes").count():
            page.locator(".planes").scroll_into_view_if_needed()
            page.wait_for_selector(".planes[data-state=ready]")
        for details in page.locator("details").all():
            details.evaluate("element => { element.open = true; }")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, (width, scheme)
        broken = "() => [...document.images].filter((image) => image.complete && !image.naturalWidth).length"
        assert page.evaluate(broken) == 0
        assert problems == [], (width, scheme)
        assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
        page.evaluate(axe)
        assert page.evaluate(RUN) == [], (width, scheme)
        page.close()


@pytest.mark.slow
def test_axe_finds_nothing_on_the_report(finished, axe, launch_browser):
    check(write_report(finished), axe, launch_browser)


@pytest.mark.slow
def test_axe_finds_nothing_on_the_comparison(make_config, tmp_path, axe, launch_browser):
    rng = np.random.default_rng(0)
    costs = {
        "parameters": 1000,
        "multiplies in training": 10**6,
        "multiplies at inference": 10**5,
        "s / iteration": 0.1,
    }
    results = {}
    for network in ("sfg", "hard_sharing", "single_task"):
        for seed in range(3):
            scores = [
                Score(network, seed, task, group, measure, float(rng.normal(10, 1)), f"s{subject}", unit=unit)
                for subject in range(6)
                for task, group, measure, unit in (
                    ("ct", "all", "mae", "HU"),
                    ("ct", "bone", "mae", "HU"),
                    ("organs", "bladder", "dice", ""),
                    ("organs", "prostate", "dice", ""),
                )
            ]
            results[network, seed] = Result(scores, costs, {"ct": 1.0, "organs": 0.5}, 3.0)
    config = make_config()
    write_comparison([PlannedRun(network, seed, config) for network, seed in results], results, tmp_path)
    page = tmp_path / "comparison.html"
    assert "ct MAE [HU] ↓" in page.read_text(encoding="utf-8")
    check(page, axe, launch_browser)


@pytest.mark.slow
def test_axe_finds_nothing_on_the_overview(cohort, tmp_path, axe, launch_browser):
    inputs = tmp_path / "in"
    inputs.mkdir()
    for name in ("phantom_000_mr.nii.gz", "phantom_001_mr.nii.gz"):
        (inputs / name).symlink_to(cohort / name)
    (inputs / "broken.nii.gz").write_bytes(b"no image")
    result = run_folder(inputs, tmp_path / "out", "whiten", {})
    assert len(result.done) == 2
    assert len(result.failed) == 1
    check(result.overview, axe, launch_browser)
