"""The Python code of the documentation runs as it stands, and gives what the INI way gives."""

import random
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from nibabel.processing import resample_from_to

ROOT = Path(__file__).parents[1]
INI = """
[MR]
path_to_search = {cohort}
filename_contains = _mr
filename_removefromid = _(mr|ct|organs)$
spatial_window_size = 24, 24, 1
pixdim = 8, 8, 8
axcodes = R, A, S

[CT]
path_to_search = {cohort}
filename_contains = _ct
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8
axcodes = R, A, S
scaling = ct
padding_value = -1024

[ORGANS]
path_to_search = {cohort}
filename_contains = _organs
filename_removefromid = _(mr|ct|organs)$
pixdim = 8, 8, 8
axcodes = R, A, S

[SYSTEM]
model_dir = {folder}/model

[NETWORK]
name = highresnet
sharing = sfg
batch_size = 4
whitening = yes

[TRAINING]
lr = 1e-3
max_iter = 40
schedule = paper
save_every_n = 40
exclude_fraction_for_inference = 0.25

[MULTITASK]
image = MR
tasks = ct, organs

[TASK ct]
type = regression
target = CT
loss = rmse

[TASK organs]
type = segmentation
target = ORGANS
loss = dicecrossentropy
num_classes = 6
"""


WHOLE_RUNS = "## Whole runs"


def blocks_of(path: Path, heading: str = "", end: str = "") -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text[text.index(heading) : text.find(end) if end else None], flags=re.S)


@pytest.mark.slow
def test_every_block_of_the_guide_runs_after_the_ones_before(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = blocks_of(ROOT / "docs" / "python.md", end=WHOLE_RUNS)
    assert len(blocks) == 7
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in blocks:
            exec(compile(block, "docs/python.md", "exec"), names)
    assert names["outputs"]["organs"].shape == (16, 24, 24, 2)
    assert set(names["only_ct"].output) == {"ct"}
    assert names["dense"].predict(names["images"], verbose=0)["depth"].shape == (16, 6, 6, 1)
    assert names["motion"].shape == (4, 16, 16, 4)
    assert re.search(r"ct: loss [\d.]+, hardened [\d.]+", capsys.readouterr().out)


@pytest.mark.slow
def test_the_lines_of_the_readme_give_the_error_of_the_ini_way(tmp_path):
    from sfgkeras import losses
    from sfgkeras.applications import run
    from sfgkeras.applications.inference import restored_network as recalibration
    from sfgkeras.applications.records.checkpoints import CheckpointFolder
    from sfgkeras.applications.records.files import RunFolder
    from sfgkeras.applications.subjects.session import open_session, prepare_phase
    from sfgkeras.applications.training import batches as windows
    from sfgkeras.config import read_config
    from sfgkeras.data.pipeline import training_dataset, validation_dataset
    from sfgkeras.phantom.pelvis import write_phantom_cohort
    from sfgkeras.reporter import SilentReporter

    (block,) = blocks_of(ROOT / "README.md", "### From Python")
    random.seed(0)
    seed = random.randrange(2**31 - 1)
    write_phantom_cohort(tmp_path / "cohort", 4, size="small", seed=5)
    (tmp_path / "run.ini").write_text(INI.format(cohort=tmp_path / "cohort", folder=tmp_path))
    config = read_config(tmp_path / "run.ini", [("SYSTEM.seed", str(seed))])
    reporter = SilentReporter()
    run.train(config, reporter)
    session = open_session(config, reporter, training=False)
    checkpoints = CheckpointFolder(RunFolder(config.system.model_dir).checkpoints)
    by_ini = recalibration.restore_network(session, checkpoints, checkpoints.read(-1), 1, reporter)

    subjects = prepare_phase(session, "training", reporter)
    source = windows.build_window_source(config, session.tasks, subjects, augment=True)
    dataset = training_dataset(source, config.network.batch_size).take(config.training.max_iter)
    names = {"dataset": dataset, "images": next(iter(dataset))[0]}
    random.seed(0)
    with pytest.warns(UserWarning, match="of the filters of"):
        exec(compile(block, "README.md", "exec"), names)

    held_out = windows.build_window_source(config, session.tasks, prepare_phase(session, "inference", reporter), False)
    test = list(validation_dataset(held_out, 4, 32))

    def errors(network):
        found = {"ct": [], "organs": []}
        for images, targets, weights in test:
            outputs = network(images, training=False)
            for task, loss in (("ct", losses.RootMeanSquaredError()), ("organs", losses.DiceCrossEntropy())):
                found[task].append(float(loss(targets[task], outputs[task], weights[task])))
        return {task: np.mean(values) for task, values in found.items()}

    expected, found = errors(by_ini), errors(names["network"])
    assert found["ct"] == pytest.approx(expected["ct"], rel=0.05)
    assert found["organs"] == pytest.approx(expected["organs"], rel=0.05)
    # A prediction of the mean is worse: the numbers above are those of a network that has learned.
    ct = np.concatenate([np.asarray(targets["ct"]).ravel() for _, targets, _ in test])
    assert found["ct"] < 0.9 * ct.std()
    # The hardened model is close to what it costs says, not hundreds away.
    assert errors(names["small"])["ct"] < 3 * ct.std()


@pytest.mark.slow
def test_a_whole_run_from_python_leaves_what_the_guide_says(tmp_path, monkeypatch):
    pytest.importorskip("plotly", reason="the report needs the extra")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = blocks_of(ROOT / "docs" / "python.md", WHOLE_RUNS)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    run, subject = names["run"], names["subject"]
    assert repr(run) == "Run('models/demo': ct, organs from MR; trained for 20 iterations)"
    assert run.history()["iteration"].tolist() == [1, 10, 20]
    mae = run.metrics().query("task == 'ct' and measure == 'mae' and region == 'all'")["mean"].item()
    # The truth on the grid of the prediction, by nothing of ours.
    truth = resample_from_to(run.image(subject, "CT"), run.predictions.image(subject, "ct"), order=1, cval=np.nan)
    residual = np.abs(truth.get_fdata() - names["synthetic"])
    of_subject = run.metrics("subjects", "ct").query("subject_id == @subject and region == 'all'")["mae"].item()
    assert of_subject == pytest.approx(np.nanmean(residual), rel=0.05)
    assert mae < 1000
    assert set(names["network"].task_names) == {"ct", "organs"}
    files = names["predictions"].files()
    assert files["task"].tolist() == ["ct", "organs"]
    assert all(path.is_file() for path in (*files["path"], names["page"], names["path"], Path("curves.png")))
