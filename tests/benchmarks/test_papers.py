"""The script that runs the INI files of papers: what it runs, what it takes for passed, and a sample that it runs."""

import json

import pytest

from sfgkeras.config.shipped import find_config, list_configs


@pytest.fixture
def papers(load_benchmark):
    return load_benchmark("papers")


def test_the_commands_are_those_of_the_file(papers):
    commands = list(papers.commands_of("cam"))
    assert [step for step, _ in commands] == ["data", "train", "inference", "evaluate", "report"]
    assert commands[0][1][:3] == ["phantom", "--kind", "lesions"]
    assert commands[1][1] == ["train", "-c", "cam.ini"]


@pytest.mark.parametrize("text", ["# no data\n[SYSTEM]", "# data: rm -r ."])
def test_a_file_without_a_command_of_the_package_is_refused(papers, text):
    with pytest.raises(ValueError, match="no line '# data: sfgkeras ...'"):
        papers.data_commands(text)


def test_every_file_of_the_lecture_says_how_its_data_are_made_and_names_its_paper(papers):
    assert papers.present_configs()
    assert set(papers.present_configs()) <= set(list_configs())
    for name in papers.present_configs():
        text = find_config(name).read_text(encoding="utf-8")
        assert all(words[0] == "phantom" for words in papers.data_commands(text)), name
        assert "\n# paper: " in text, name


def test_measures_are_the_means_that_evaluate_has_summed_up(papers, tmp_path):
    folder = tmp_path / "models" / "evaluation"
    folder.mkdir(parents=True)
    (folder / "a_subjects.csv").write_text("subject_id,label,dice\n1,3,0.5\n")
    (folder / "a_summary.csv").write_text(
        "label,region,measure,unit,mean,std\n3,all,dice,,0.5,nan\n4,all,dice,,0.75,nan\n5,all,dice,,nan,nan\n"
    )
    (folder / "b_summary.csv").write_text("measure,unit,mean,std\naccuracy,,1,nan\n")
    assert papers.read_measures(tmp_path) == {"a 3 dice": 0.5, "a 4 dice": 0.75, "b accuracy": 1.0}


def test_a_run_passes_in_time_and_without_a_problem(papers):
    run = {"config": "cam", "problem": "", "measures": {"a": 1.0}}
    run |= {"seconds": {"train": 200.0, "data": 50.0}, "cpu_seconds": {"train": 340.0, "data": 60.0}}
    assert papers.has_passed(run)
    assert not papers.has_passed(run | {"problem": "train: no"})
    assert not papers.has_passed(run | {"seconds": {"train": 301.0}})
    # The clock of a busy machine goes on while other programs run.
    assert papers.has_passed(run | {"seconds": {"train": 900.0}, "cpu_seconds": {"train": 299.0}})
    (line,) = papers.findings([run | {"problem": "train: no"}])
    assert (line["passed"], line["seconds"], line["result"]) == ("no", "250", "train: no")
    assert (line["CPU seconds"], line["of which train"], line["of which report"]) == ("400", "340", "0")


def test_a_step_that_fails_is_named_with_its_last_line(papers, tmp_path, monkeypatch):
    monkeypatch.setattr(papers, "commands_of", lambda name: [("train", ["train", "-c", "nowhere.ini"])])
    run = papers.run_config("cam", tmp_path)
    assert run["problem"].startswith("train: ")
    assert "nowhere.ini" in run["problem"]


def test_runs_of_a_file_that_has_changed_are_made_again(papers, tmp_path, monkeypatch, capsys):
    kept = {"config": "cam", "digest": "old", "seconds": {}, "cpu_seconds": {}, "problem": "", "measures": {}}
    (tmp_path / "runs.json").write_text(json.dumps([kept]))
    monkeypatch.setattr(papers, "run_config", lambda name, folder: kept | {"digest": papers.digest_of(name)})
    assert papers.main(["--only", "cam", "--output", str(tmp_path / "runs.json")]) == 0
    (run,) = json.loads((tmp_path / "runs.json").read_text())
    assert run["digest"] == papers.digest_of("cam")
    assert "| `cam` | yes |" in capsys.readouterr().out


def test_cpu_seconds_are_those_of_the_processes_of_a_step(papers, tmp_path, monkeypatch):
    def steps(name):
        yield "data", ["-c", "import time; time.sleep(0.5)"]
        yield "train", ["-c", "import time\nwhile time.process_time() < 0.5: pass"]

    monkeypatch.setattr(papers, "commands_of", steps)
    monkeypatch.setattr(papers, "PROGRAM", [papers.sys.executable])
    run = papers.run_config("cam", tmp_path)
    assert run["seconds"]["data"] >= 0.5 > run["cpu_seconds"]["data"]
    assert run["cpu_seconds"]["train"] >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cam"])
def test_a_file_of_a_paper_runs_from_an_empty_folder(papers, tmp_path, name):
    run = papers.run_config(name, tmp_path)
    assert not run["problem"], run
    assert run["measures"]
