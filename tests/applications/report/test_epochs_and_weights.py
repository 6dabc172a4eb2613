"""What a report shows of epochs and of weights that were learned."""

import pytest

from sfgkeras.analysis.figures import write_curve_figure
from sfgkeras.applications.records.checkpoints import CheckpointFolder, TrainingState
from sfgkeras.applications.records.files import RunFolder
from sfgkeras.applications.report.facts import epoch_of
from sfgkeras.applications.report.tables import curve_columns, run_facts

TRAINING = (
    "iteration,epoch,loss,regularisation,ct,organs,weight_ct,weight_organs,seconds_per_iteration\n"
    "1,0.5,3,0.1,1,2,0.5,1,0.5\n2,1,2,0.1,0.8,1.2,0.52,0.9,0.5\n4,2,1,0.1,0.5,0.5,0.6123,0.8,0.5\n"
)
VALIDATION = "iteration,epoch,loss,ct_loss,organs_loss,organs_dice\n2,1,2.1,0.9,1.2,0.4\n4,2,2,0.8,1.2,0.5\n"
EPOCHS = {"TRAINING.max_epochs": 5, "TRAINING.max_iter": "", "TRAINING.balancing": "uncertainty"}


@pytest.fixture
def logged(make_config):
    config = make_config(EPOCHS)
    run = RunFolder(config.system.model_dir)
    run.logs.mkdir(parents=True)
    (run.logs / "training.csv").write_text(TRAINING)
    (run.logs / "validation.csv").write_text(VALIDATION)
    return config, run


def test_curves_lie_against_epochs_and_weights_have_curves_of_their_own(logged, tmp_path):
    _, run = logged
    columns = curve_columns(run, by_epoch=True)
    assert columns["epoch"].tolist() == [0.5, 1, 2]
    assert columns["weight_ct"].tolist() == [0.5, 0.52, 0.6123]
    assert "iteration" not in columns
    assert columns["validation_organs_dice"][1:].tolist() == [0.4, 0.5]
    figure = write_curve_figure(tmp_path, columns, best=2, best_epoch=epoch_of(run, 2))
    layout = figure.interactive.layout
    assert layout.xaxis.title.text == "epoch"
    stars = [trace for trace in figure.interactive.data if trace.name == "best checkpoint"]
    assert {trace.x[0] for trace in stars} == {1.0}
    assert "weight_ct" in [annotation.text for annotation in layout.annotations]
    assert all(path.stat().st_size for path in figure.paths)


def test_without_epochs_curves_lie_against_iterations(logged):
    _, run = logged
    assert curve_columns(run)["iteration"].tolist() == [1, 2, 4]
    # Logs that an earlier version began tell no epochs in their first lines.
    (run.logs / "training.csv").write_text(TRAINING.replace("\n1,0.5,", "\n1,,"))
    assert curve_columns(run, by_epoch=True)["iteration"].tolist() == [1, 2, 4]
    assert epoch_of(run, 3) is epoch_of(run, None) is None


def test_the_facts_tell_epochs_and_the_last_weights(logged):
    config, run = logged
    progress = {"iteration": 4, "best_score": 2.0, "best_iteration": 4, "stopped": ""}
    CheckpointFolder(run.checkpoints).write(TrainingState({}, {"iteration": 4, "progress": progress}))
    facts = run_facts(config, run, {})
    assert facts["Iterations"] == "4"
    assert facts["Epochs"] == "2 of 5"
    assert facts["Task weights"] == "ct 0.612, organs 0.8"
