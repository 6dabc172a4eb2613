"""The report of a run: what is on the page, what is missing and how it is said, and that it works in a browser."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.records.files import Provenance, RunFolder, digest, prediction_path
from sfgkeras.applications.records.training_record import TrainingClock
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.training.fingerprint import same_settings
from sfgkeras.config import read_config
from sfgkeras.data.nifti import read_image, write_image
from sfgkeras.errors import ConfigError, DataError
from sfgkeras.reporter import SilentReporter

SECTIONS = ["run", "curves", "grouping", "sharing", "evaluation", "slices", "settings"]


class Page(HTMLParser):
    """Collects what the tests look at; fails on an element that is not closed."""

    VOID = ("meta", "img", "input", "br", "link")

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.attributes, self.notices, self.words, self.data = [], [], [], [], []
        self.pieces, self.marked = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append((tag, dict(attributes)))
        if ("class", "notice") in attributes:
            self.notices.append("")
        if ("class", "marked") in attributes:
            self.marked.append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        kind = self.open[-1] if self.open else ("", {})
        if kind[0] in ("script", "style"):
            if kind[1].get("type") == "application/json":
                self.data.append(json.loads(data))
            return
        self.words.append(data)
        self.pieces.append((kind[0], data))
        if any(attributes.get("class") == "marked" for _, attributes in self.open):
            self.marked[-1] += data
        if any(attributes.get("class") == "notice" for _, attributes in self.open):
            self.notices[-1] += data

    @property
    def text(self):
        return " ".join(self.words)

    def terms(self, tag):
        """The texts of all elements of a kind."""
        return [data for kind, data in self.pieces if kind == tag]

    def scales(self):
        """Title and scale of every picture that has a scale."""
        found, title, ends = [], None, []
        for kind, data in self.pieces:
            if kind == "figcaption":
                title, ends = data, []
            elif kind == "span":
                ends.append(data)
                if len(ends) == 2:
                    found.append((title, tuple(ends)))
        return found

    def ids(self, tag):
        return [attributes.get("id") for name, attributes in self.attributes if name == tag]


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
        "ct: prediction - truth",
        "ct: standard deviation",
        "organs: outlines",
    ]
    for panel in viewer["panels"][:-1]:
        assert len(panel["images"]) == slices
    # Outlines lie over the input, whose pictures are not repeated.
    assert viewer["panels"][-1]["images"] == 0
    outlines = viewer["panels"][-1]["outlines"]
    assert set(outlines) == {"truth", "prediction"}
    assert sum(map(len, outlines["truth"])) > slices / 4
    assert outlines["truth"] != outlines["prediction"]
    charts = [data for data in page.data if "layout" in data]
    # Curves, density, trajectories, shares, first passage; what is shared, and its course.
    assert len(charts) == 7


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


def test_a_folder_without_a_run_is_refused_and_left_alone(make_config, tmp_path):
    config = make_config()
    with pytest.raises(DataError, match="no run to report on.*sfgkeras train -c "):
        write_report(config, output=tmp_path / "report")
    assert not config.system.model_dir.exists()
    assert not (tmp_path / "report").exists()


def test_a_run_that_has_just_begun_is_told_which_commands_come_next(make_config):
    config = make_config({"NETWORK.sharing": "sfg"})
    run = RunFolder(config.system.model_dir)
    run.path.mkdir()
    run.configuration.write_text(config.effective_text())
    _, page = report_of(config)
    assert page.ids("section") == SECTIONS
    said = " ".join(page.notices)
    for verb in ("train", "inference", "evaluate"):
        assert f"sfgkeras {verb} -c " in said
    assert "sharing = sfg" in page.text
    assert [data for data in page.data if "layout" in data] == []


def test_the_page_says_which_tasks_share_what_and_what_was_learned(finished):
    path, page = report_of(finished)
    titles = ("Which tasks share what, layer by layer", "How sharing changed", "Learned: stitch weights")
    for text in (*titles, "ct with organs", "0.812", "0.75", "0.25", "sharing = sfg, iteration 2"):
        assert text in page.text, text
    for name in ("sharing", "sharing_course", "learned"):
        assert (path.parent / "figures" / f"{name}.pdf").is_file()


def test_fixed_groups_no_validation_and_lost_images_are_said(make_config, tmp_path, cohort, write_run):
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


def test_a_report_replaces_only_its_own_files(finished, tmp_path, monkeypatch):
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    monkeypatch.setattr("sfgkeras.applications.report.facts.now", lambda: moment)
    output = tmp_path / "elsewhere"
    output.mkdir()
    (output / "mine.txt").write_text("mine")
    first = write_report(finished, output=output).read_bytes()
    assert write_report(finished, output=output).read_bytes() == first
    assert (output / "mine.txt").read_text() == "mine"
    assert not (finished.system.model_dir / "report").exists()
    assert sorted(os.listdir(output)) == ["figures", "mine.txt", "report.html"]


def test_a_foreign_page_is_replaced_only_when_asked(finished, make_config, tmp_path, write_run):
    output = tmp_path / "pages"
    output.mkdir()
    page = output / "report.html"
    page.write_text("<html><title>mine</title></html>")
    with pytest.raises(DataError, match="no page of sfgkeras; add --overwrite"):
        write_report(finished, output=output)
    assert page.read_text() == "<html><title>mine</title></html>"
    assert os.listdir(output) == ["report.html"]
    write_report(finished, output=output, overwrite=True)
    # Now it is the report of this run: no other may take its place either.
    other = make_config(model_dir=tmp_path / "other")
    write_run(other)
    with pytest.raises(DataError, match="is the page of .*model, not of .*other"):
        write_report(other, output=output)
    write_report(finished, output=output)


def test_all_subjects_are_shown_in_the_same_windows(unfigured, write_predictions):
    write_predictions(unfigured, "phantom_002")
    # One subject with errors of twice the size.
    path = prediction_path(unfigured, "phantom_002", "ct")
    found = read_image(path)
    write_image(path, found.array + 50, found.affine)
    _, page = report_of(unfigured)
    viewers = [data for data in page.data if "places" in data]
    assert len(viewers) == 2
    scales = page.scales()
    by_panel = {}
    for title, scale in scales:
        by_panel.setdefault(title, set()).add(scale)
    assert set(by_panel) == {"MR", "ct: truth", "ct: prediction", "ct: prediction - truth", "ct: standard deviation"}
    assert all(len(found) == 1 for found in by_panel.values()), by_panel
    assert by_panel["ct: truth"] == by_panel["ct: prediction"] == {("-200 HU", "600 HU")}
    ((low, high),) = by_panel["ct: prediction - truth"]
    # 50 HU too high in one subject and 100 in the other: symmetric, to the larger.
    assert (low, high) == ("-100 HU", "100 HU")


def test_the_best_checkpoint_is_marked_in_curves_and_table(finished):
    keep_checkpoint(finished, best=2)
    path, page = report_of(finished)
    (marked,) = page.marked
    assert marked.startswith("2 (best)")
    assert "the best checkpoint is that of iteration 2" in page.text
    curves = next(data for data in page.data if "layout" in data)
    stars = [trace for trace in curves["data"] if trace.get("marker", {}).get("symbol") == "star"]
    # Loss, both tasks and the Dice were validated.
    assert len(stars) == 4
    assert all(trace["x"] == [2] for trace in stars)
    assert len(curves["layout"]["shapes"]) == 4
    assert (path.parent / "figures" / "curves.pdf").stat().st_size > 0


def keep_checkpoint(config, best):
    """Leaves a checkpoint of iteration 2 that tells of the best one, and predictions that came from it."""
    run = RunFolder(config.system.model_dir)
    record = {
        "iteration": 2,
        "fingerprint": "none",
        "progress": {"iteration": 2, "best_score": 2.1, "best_iteration": best, "stopped": ""},
    }
    CheckpointFolder(run.checkpoints).write(TrainingState({}, record))
    made_by = digest(same_settings(config, record))
    paths = [prediction_path(config, "phantom_003", task) for task in ("ct", "organs")]
    Provenance(config.inference.save_seg_dir, made_by).record(paths)


@pytest.mark.parametrize(("best", "said"), [(2, "by iteration 2, the best in validation"), (1, "by iteration 2")])
def test_the_page_says_which_checkpoint_predicted(unfigured, best, said):
    keep_checkpoint(unfigured, best)
    _, page = report_of(unfigured)
    assert f"Predictions are those {said}." in page.text
    changed = read_config(unfigured.path, [("INFERENCE.fill_constant", "7")])
    _, page = report_of(changed)
    assert "by a checkpoint that is gone, or with other settings than these" in page.text


def test_the_page_says_when_how_and_where_it_was_trained(unfigured, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/bin/sfgkeras", "report", "-c", "a file.ini"])
    clock = TrainingClock(RunFolder(unfigured.system.model_dir).training_record, 0, ["NVIDIA H200", "NVIDIA H200"])
    clock.note()
    _, page = report_of(unfigured)
    facts = dict(zip(page.terms("dt"), page.terms("dd"), strict=True))
    assert facts["Command"] == "sfgkeras report -c 'a file.ini'"
    assert datetime.now(UTC).strftime("%Y-%m-%d") in facts["Written"]
    for name in ("sfgkeras", "tensorflow", "keras", "python"):
        assert f"{name} " in facts["Versions"]
        assert f"{name} " in facts["Trained with"]
    assert facts["Seed"] == "3"
    assert facts["Duration of training"] == "0 s"
    assert "2 × NVIDIA H200" in facts["Machine"]
    assert "core" in facts["Machine"]


def test_scalar_tasks_show_values_and_a_confusion_matrix(tmp_path):
    from sfgkeras.analysis.page import confusion_html
    from sfgkeras.applications.report.tables import read_rows, spread_summary

    page = Page(confusion_html([[8, 2], [1, 9]], ["f<", "m"], "gender"))
    assert "true f<" in page.text
    cells = [a["style"] for tag, a in page.attributes if tag == "td" and "style" in a]
    assert cells[0] == "background:rgba(var(--heat),0.44)"
    path = tmp_path / "age_summary.csv"
    path.write_text("measure,mean,std,median,n,n_missing\nmae,4.2,nan,4.2,1,0\n")
    assert spread_summary(read_rows(path)) == [{"": "all subjects", "mae": "4.2"}]


def test_a_task_of_several_numbers_shows_the_values_of_each(make_config, tmp_path):
    from sfgkeras.applications.report.tables import evaluation_html

    config = make_config()
    folder = config.evaluation.save_csv_dir
    folder.mkdir(parents=True)
    (folder / "pose_summary.csv").write_text("measure,mean,std,median,n,n_missing\nmae,4.2,nan,4.2,1,0\n")
    columns = "subject_id,truth_roll,truth_yaw,prediction_roll,prediction_yaw"
    (folder / "pose_pairs.csv").write_text(f"{columns}\nface_1,1.5,-20,1.25,-31\nface_2,3.5,7,4,8\n")
    (folder / "age_summary.csv").write_text("measure,mean,std,median,n,n_missing\nmae,4.2,nan,4.2,1,0\n")
    (folder / "age_pairs.csv").write_text("subject_id,truth,prediction\nface_1,30,31\n")
    task = SimpleNamespace(type="regression", class_names=(), unit="degrees")
    text, missing = evaluation_html(SimpleNamespace(tasks={"pose": task, "age": task}, evaluation=config.evaluation))
    for title in ("pose roll", "pose yaw", "age"):
        assert f"{title}: predicted and true values" in text
    assert "pose: predicted" not in text
    assert "true pose yaw [degrees]" in text
    assert missing == []


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


def open_page(browser, path, width, scheme):
    """Opens a page; what it complains of or asks for is collected."""
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    return page, problems, requests


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
def test_the_page_works_in_a_browser_wide_and_narrow_light_and_dark(finished, launch_browser, width, scheme):
    path = write_report(finished)
    page, problems, requests = open_page(launch_browser(webgl=False), path, width, scheme)
    page.wait_for_function("document.querySelectorAll('.plot .main-svg').length >= 5")
    # The body never scrolls sideways, also on a telephone.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    # Without WebGL 2 the slices are open, and why is said.
    assert page.locator(".planes").is_hidden()
    assert page.get_by_text("Three planes need WebGL 2").is_visible()
    image, place = page.locator(".panels img").first, page.locator(".viewer output")
    before, where = image.get_attribute("src"), place.inner_text()
    slider = page.get_by_label("Slice")
    slider.focus()
    page.keyboard.press("ArrowRight")
    assert image.get_attribute("src") != before
    assert place.inner_text() != where
    assert slider.get_attribute("aria-valuetext") == place.inner_text()
    assert image.get_attribute("alt") == f"MR, {place.inner_text()}"
    assert image.evaluate("element => element.naturalWidth") > 10
    assert page.locator("g.truth path").count() > 0
    page.get_by_label("true outlines").uncheck()
    assert page.locator("g.truth").evaluate("element => element.style.display") == "none"
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(255, 255, 255)") == (scheme == "light")
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []


def test_three_planes_can_be_moved_zoomed_and_windowed(finished, launch_browser, write_predictions):
    write_predictions(finished, "phantom_002")
    page, problems, requests = open_page(launch_browser(webgl=True), write_report(finished), 1280, "light")
    planes = page.locator(".planes")
    planes.scroll_into_view_if_needed()
    page.wait_for_selector(".planes[data-state=ready]")
    # The slices are there, closed.
    assert page.locator("details.slices").get_attribute("open") is None
    left, right = (planes.get_by_role("group", name=name) for name in ("Left", "Right"))
    chosen = "element => element.selectedOptions[0].text"
    assert left.get_by_label("Image").evaluate(chosen) == "ct: truth"
    assert right.get_by_label("Image").evaluate(chosen) == "ct: prediction"
    assert left.get_by_label("Outlines").evaluate(chosen) == "organs: truth"
    value = left.locator(".value")
    assert "HU at x" in value.inner_text()

    def difference():
        # The middle of the prediction is 50 HU above the truth, to half a step of either.
        return [float(pane.locator(".value").inner_text().split(" HU")[0]) for pane in (left, right)]

    true, predicted = difference()
    assert predicted - true == pytest.approx(50, abs=15)
    pictures = [left.locator("canvas").screenshot()]

    def changed():
        page.wait_for_timeout(150)
        pictures.append(left.locator("canvas").screenshot())
        return pictures[-1] != pictures[-2]

    level = left.get_by_label("Level")
    level.focus()
    for _ in range(8):
        page.keyboard.press("PageUp")
    assert changed()
    # Both pictures show one window.
    said = [pane.get_by_label("Level").get_attribute("aria-valuetext") for pane in (left, right)]
    assert said[0] == said[1] != "200 HU"
    planes.get_by_label("Zoom").fill("3")
    assert changed()
    where = value.inner_text()
    left.locator("canvas").focus()
    page.keyboard.press("ArrowUp")
    assert changed()
    assert value.inner_text() != where
    # The cross of the other picture went along.
    assert right.locator(".value").inner_text().split(" at ")[1] == value.inner_text().split(" at ")[1]
    left.get_by_label("Image").select_option("ct: prediction - truth")
    assert changed()
    planes.get_by_label("Subject").select_option(index=1)
    assert changed()
    planes.get_by_role("button", name="Reset").click()
    assert right.get_by_label("Level").get_attribute("aria-valuetext") == "200 HU"
    assert problems == []
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
