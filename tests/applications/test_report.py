"""The report of a run: what is on the page, what is missing and how it is said, and that it works in a browser."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from html.parser import HTMLParser

import numpy as np
import pytest

from sfgkeras.applications.files import RunFolder, prediction_path
from sfgkeras.applications.report import write_report
from sfgkeras.applications.reporter import SilentReporter
from sfgkeras.callbacks import GroupingHistory
from sfgkeras.data.nifti import read_image, read_label_map, write_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.preprocessing.resampling import resample_like

SECTIONS = ["run", "curves", "grouping", "evaluation", "slices", "settings"]
SPLIT = "phantom_000,training\nphantom_001,training\nphantom_002,validation\nphantom_003,inference\n"


class Page(HTMLParser):
    """Collects what the tests look at; fails on an element that is not closed."""

    VOID = ("meta", "img", "input", "br", "link")

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.notices, self.words, self.data = [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attributes)))
        if ("class", "notice") in attributes:
            self.notices.append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        kind = self.open[-1] if self.open else ("", {})
        if kind[0] in ("script", "style"):
            if kind[1].get("type") == "application/json":
                self.data.append(json.loads(data))
            return
        self.words.append(data)
        if any(attributes.get("class") == "notice" for _, attributes in self.open):
            self.notices[-1] += data

    @property
    def text(self):
        return " ".join(self.words)

    def ids(self, tag):
        return [attributes.get("id") for name, attributes in self.attributes if name == tag]


def write_run(config, subject_id="phantom_003"):
    """Leaves what training, inference and evaluation of a run leave, without their work."""
    run = RunFolder(config.system.model_dir)
    run.logs.mkdir(parents=True)
    run.configuration.write_text(config.effective_text())
    config.system.dataset_split_file.write_text(SPLIT)
    (run.logs / "training.csv").write_text(
        "iteration,loss,regularisation,ct,organs,seconds_per_iteration\n1,3,0.1,1,2,0.5\n2,2,0.1,0.8,1.2,0.5\n"
    )
    (run.logs / "validation.csv").write_text("iteration,loss,ct_loss,organs_loss,organs_dice\n2,2.1,0.9,1.2,0.4\n")
    run.network_size.write_text('{"parameters": 12345, "multiplies": 67890123, "window": [28, 28]}')
    history = GroupingHistory(run.grouping, 1)
    rng = np.random.default_rng(0)
    for iteration in range(3):
        history.note(iteration, {f"sfg_{n}": rng.dirichlet([1, 1, 1], size=4) for n in (1, 2)})
    history.write()
    evaluation = config.evaluation.save_csv_dir
    evaluation.mkdir()
    (evaluation / "ct_summary.csv").write_text(
        "region,measure,mean,std,median,n,n_missing\nall,mae,61.87,2.73,61,3,0\n"
    )
    (evaluation / "ct_subjects.csv").write_text("subject_id,region,num_voxels,mae\nphantom_003,all,100,61.5\n")
    (evaluation / "organs_summary.csv").write_text(
        "label,measure,mean,std,median,n,n_missing\nbladder,dice,0.73,0.1,0.7,2,1\n"
    )
    write_predictions(config, subject_id)
    return run


def write_predictions(config, subject_id):
    """Writes slightly wrong predictions and an uncertainty map."""
    config.inference.save_seg_dir.mkdir()
    cohort = config.sources["MR"].path_to_search[0]
    mr = read_image(cohort / f"{subject_id}_mr.nii.gz")
    shape, affine = mr.array.shape, mr.affine
    ct, organs = read_image(cohort / f"{subject_id}_ct.nii.gz"), read_label_map(cohort / f"{subject_id}_organs.nii.gz")
    hu = resample_like(ct.array, ct.affine, shape, affine, 1, fill=-1024)
    labels = resample_like(organs.array, organs.affine, shape, affine, 0)
    write_image(prediction_path(config, subject_id, "ct"), hu + 50, affine)
    write_image(prediction_path(config, subject_id, "organs"), np.roll(labels, 1, axis=0), affine)
    write_image(prediction_path(config, subject_id, "ct", "_std"), np.abs(hu) / 10, affine)


@pytest.fixture
def finished(make_config):
    config = make_config({"NETWORK.sharing": "sfg"})
    write_run(config)
    return config


@pytest.fixture
def unfigured(finished):
    """A finished run whose logs are gone: its report is quicker."""
    for path in RunFolder(finished.system.model_dir).logs.iterdir():
        path.unlink()
    return finished


def report_of(config, reporter=None, **options):
    path = write_report(config, reporter, **options)
    return path, Page(path.read_text(encoding="utf-8"))


def test_the_page_of_a_finished_run_has_every_section_and_loads_nothing(finished, reporter):
    path, page = report_of(finished, reporter)
    check_data(page, finished)
    assert path == finished.system.model_dir / "report" / "report.html"
    assert page.ids("section") == SECTIONS
    assert reporter.warnings == []
    # The only thing that is not there is made on request.
    assert len(page.notices) == 1
    assert "--activations" in page.notices[0]
    for tag, attributes in page.attributes:
        source = attributes.get("src") or ""
        assert source == "" or source.startswith("data:image/"), tag
        href = attributes.get("href") or ""
        assert href == "" or href[0] == "#" or (path.parent / href).is_file(), href
        assert tag not in ("link", "iframe", "object")
    (policy,) = [a["content"] for _, a in page.attributes if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src" not in policy
    for text in ("12,345", "67,890,123", "61.87 ± 2.73", "0.73 ± 0.1 (1 undefined)", "max_iter = 4"):
        assert text in page.text, text


def check_data(page, finished):
    """Charts and slices hold the data of the run."""
    viewers = [data for data in page.data if "places" in data]
    (viewer,) = viewers
    cohort = finished.sources["MR"].path_to_search[0]
    slices = read_image(cohort / "phantom_003_mr.nii.gz").array.shape[2]
    assert viewer["places"][0] == f"axial 1 of {slices}"
    titles = [panel["title"] for panel in viewer["panels"]]
    assert titles == [
        "MR",
        "ct: truth",
        "ct: prediction",
        "ct: absolute difference",
        "ct: standard deviation",
        "organs: outlines",
    ]
    for panel in viewer["panels"]:
        assert len(panel["images"]) == slices
    outlines = viewer["panels"][-1]["outlines"]
    assert set(outlines) == {"truth", "prediction"}
    assert sum(map(len, outlines["truth"])) > slices / 4
    assert outlines["truth"] != outlines["prediction"]
    charts = [data for data in page.data if "layout" in data]
    # Curves, density, trajectories, shares, first passage.
    assert len(charts) == 5


def test_outlines_lie_where_the_labels_are():
    from sfgkeras.analysis.slice_viewer import outline_paths

    labels = np.zeros((5, 8), int)
    labels[1:3, 2:6] = 1
    labels[4, 7] = 3
    (first, path), (_, other) = outline_paths(labels)
    points = np.array([piece.split() for piece in path[1:-1].split("L")], float)
    # Columns 2 .. 5 and rows 1 .. 2: x from 2 to 6, y from 1 to 3.
    np.testing.assert_allclose(points.min(axis=0), [2, 1])
    np.testing.assert_allclose(points.max(axis=0), [6, 3])
    assert first.startswith("#")
    assert other.startswith("M")
    assert outline_paths(np.zeros((3, 3), int)) == []


def test_a_run_that_has_not_begun_is_told_which_commands_come_next(make_config):
    config = make_config({"NETWORK.sharing": "sfg"})
    _, page = report_of(config)
    assert page.ids("section") == SECTIONS
    said = " ".join(page.notices)
    for verb in ("train", "inference", "evaluate"):
        assert f"sfgkeras {verb} -c " in said
    assert "sharing = sfg" in page.text
    assert [data for data in page.data if "layout" in data] == []


def test_fixed_groups_no_validation_and_lost_images_are_said(make_config, tmp_path, cohort):
    config = make_config()
    run = write_run(config)
    run.grouping.unlink()
    (run.logs / "validation.csv").unlink()
    for name in ("MR", "CT", "ORGANS"):
        object.__setattr__(config.sources[name], "path_to_search", (tmp_path / "gone",))
    _, page = report_of(config)
    assert "sharing = hard_sharing the groups of the filters are fixed" in page.text
    assert any("There was no validation" in text for text in page.notices)
    assert any("The images cannot be shown" in text and "gone" in text for text in page.notices)


def test_text_of_files_cannot_become_markup(unfigured):
    run = RunFolder(unfigured.system.model_dir)
    run.configuration.write_text("# </code><script>alert(1)</script><img src=x onerror=alert(2)>\n")
    evaluation = unfigured.evaluation.save_csv_dir
    (evaluation / "ct_subjects.csv").write_text("subject_id,region,mae\n<b>bold</b>,all,1\n")
    (evaluation / "ct_summary.csv").write_text(
        'region,measure,mean,std,median,n,n_missing\n"""><script>alert(3)</script>",mae,1,1,1,2,0\n'
    )
    path, page = report_of(unfigured)
    text = path.read_text(encoding="utf-8")
    assert "<script>alert" not in text
    assert "<b>bold" not in text
    assert "onerror" not in [name for _, attributes in page.attributes for name in attributes]
    assert "<script>alert(3)</script>" in page.text


def test_a_subject_whose_files_do_not_fit_is_left_out_with_a_warning(unfigured, reporter):
    path = prediction_path(unfigured, "phantom_003", "ct")
    write_image(path, np.zeros((4, 4, 4), np.float32), np.eye(4))
    _, page = report_of(unfigured, reporter)
    assert any(str(path) in warning for warning in reporter.warnings)
    assert any("left out" in text for text in page.notices)


def test_a_report_replaces_only_its_own_files(finished, tmp_path):
    output = tmp_path / "elsewhere"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    first = write_report(finished, output=output).read_bytes()
    assert write_report(finished, output=output).read_bytes() == first
    assert (output / "mine.txt").read_text() == "mine"
    assert not (finished.system.model_dir / "report").exists()
    assert sorted(os.listdir(output)) == ["figures", "mine.txt", "report.html"]


def test_scalar_tasks_show_values_and_a_confusion_matrix(tmp_path):
    from sfgkeras.analysis.page import confusion_html
    from sfgkeras.applications.report_tables import read_rows, spread_summary

    page = Page(confusion_html([[8, 2], [1, 9]], ["f<", "m"], "gender"))
    assert "true f<" in page.text
    cells = [a["style"] for tag, a in page.attributes if tag == "td" and "style" in a]
    assert cells[0] == "background:rgba(var(--heat),0.44)"
    path = tmp_path / "age_summary.csv"
    path.write_text("measure,mean,std,median,n,n_missing\nmae,4.2,nan,4.2,1,0\n")
    assert spread_summary(read_rows(path)) == [{"": "all subjects", "mae": "4.2"}]


def test_the_command_line_makes_the_page_without_tensorflow(unfigured):
    code = (
        "import sys\nfrom sfgkeras.cli import main\n"
        f"try:\n    main(['report', '-c', {str(unfigured.path)!r}])\nexcept SystemExit as e:\n    assert not e.code\n"
        "print('heavy:', sorted({'tensorflow', 'keras'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "heavy: []" in result.stdout, result.stderr
    assert "report.html" in result.stdout


def test_there_is_one_bar_at_a_time(unfigured, reporter, monkeypatch):
    # A terminal can show no second one.
    under_way = []

    @contextmanager
    def stage(title, total, done=0):
        assert under_way == [], title
        under_way.append(title)
        with SilentReporter().stage(title, total, done) as shown:
            yield shown
        under_way.remove(title)

    monkeypatch.setattr(reporter, "stage", stage)
    write_report(unfigured, reporter)
    assert reporter.messages[-1].endswith("report.html")


@pytest.mark.parametrize("text", ["phantom_003", "phantom_003:x", ":3"])
def test_a_malformed_slice_is_refused(text):
    from sfgkeras.cli import parse_slice

    with pytest.raises(ConfigError, match="SUBJECT:NUMBER"):
        parse_slice(text)
    assert parse_slice("a:b:12") == ("a:b", 12)


def test_activation_maps_without_a_trained_network_are_refused(finished):
    with pytest.raises(DataError, match="train first"):
        write_report(finished, activations=True)


@pytest.mark.slow
def test_activation_maps_of_a_trained_network_are_drawn_and_kept(make_config, reporter):
    from sfgkeras.analysis.activation_maps import read_maps
    from sfgkeras.applications.run import train
    from sfgkeras.callbacks import read_grouping_history

    config = make_config({"NETWORK.sharing": "sfg", "TRAINING.max_iter": 2, "TRAINING.validation_every_n": -1})
    train(config, reporter)
    run = RunFolder(config.system.model_dir)
    assert read_grouping_history(run.grouping)["iterations"].tolist() == [0, 1, 2]
    subject = config.system.dataset_split_file.read_text().split(",")[0]
    for slices, message in (([("nobody", 0)], "no subject 'nobody'"), ([(subject, 99)], "has no slice 99")):
        with pytest.raises(ConfigError, match=message):
            write_report(config, reporter, slices=slices)
    path = write_report(config, reporter, slices=[(subject, 3), (subject, 5)])
    maps = read_maps(path.parent / "activations.npz")
    assert maps.slices == (f"{subject}, slice 3", f"{subject}, slice 5")
    assert set(maps.dead) == set(maps.num_filters) == {f"sfg_{n}" for n in range(1, 6)}
    assert maps.filters[0].maps.shape == maps.images.shape
    assert (maps.images[0] != maps.images[1]).any()
    _, page = report_of(config, reporter)
    assert "Dead filters" in page.text
    assert f"Activation maps: {subject}, slice 5" in page.text
    # Parameters and multiplies come from what training has written down.
    assert f"{json.loads(run.network_size.read_text())['parameters']:,}" in page.text


def find_chromium():
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


@pytest.fixture
def browser():
    """A headless Chromium: one that is installed, or playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    with playwright.sync_playwright() as driver:
        executable = find_chromium()
        if executable is None and not os.path.exists(driver.chromium.executable_path):
            pytest.skip("no Chromium here: install the package chromium, or run `playwright install chromium`")
        # Chromium refuses to make its sandbox for root, the user of many containers.
        found = driver.chromium.launch(executable_path=executable, chromium_sandbox=os.geteuid() != 0)
        yield found
        found.close()


def test_the_page_works_in_a_browser_wide_and_narrow_light_and_dark(finished, browser):
    path = write_report(finished)
    for width, scheme in ((1280, "light"), (390, "dark")):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        use_page(page, path, width, scheme)


def use_page(page, path, width, scheme):
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 5")
    # The body never scrolls sideways, also on a telephone.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    image, place = page.locator(".panels img").first, page.locator(".viewer output")
    before, where = image.get_attribute("src"), place.inner_text()
    page.locator("input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    assert image.get_attribute("src") != before
    assert place.inner_text() != where
    assert page.locator("input[type=range]").get_attribute("aria-valuetext") == place.inner_text()
    assert image.get_attribute("alt") == f"MR, {place.inner_text()}"
    assert image.evaluate("element => element.naturalWidth") > 10
    assert page.locator("g.truth path").count() > 0
    page.get_by_label("true outlines").uncheck()
    assert page.locator("g.truth").evaluate("element => element.style.display") == "none"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
