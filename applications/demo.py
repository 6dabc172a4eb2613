"""The whole toolkit on a cohort that it makes itself: phantoms, training, inference, evaluation, pictures, report."""

from pathlib import Path
from typing import Any

import numpy as np

from sfgkeras.applications import run
from sfgkeras.applications.records.files import prediction_path
from sfgkeras.applications.report.page import write_report
from sfgkeras.applications.subjects.session import open_session
from sfgkeras.config import Config, find_config, read_config
from sfgkeras.data.nifti import read_image, read_label_map
from sfgkeras.errors import DataError
from sfgkeras.extras import require_extra
from sfgkeras.phantom.pelvis import write_phantom_cohort
from sfgkeras.reporter import Reporter

NUM_SUBJECTS = 14
AIR = -1024.0


def run_demo(
    output: Path, reporter: Reporter, seed: int = 0, settings: dict[str, str] | None = None
) -> dict[str, float]:
    """Runs the demo.

    Args:
        output: Folder for cohort, model, results and pictures; a second call resumes what a first one left.
        reporter: Shows progress.
        seed: Seed of cohort and training.
        settings: Further values for the INI file, `{"SECTION.KEY": value}`.

    Returns:
        `ct_mae` in HU, `constant_mae` (the best constant predictor's) and `organs_dice`, means over held-out subjects.
    """
    require_extra("report", "the demo")  # its last step, and nobody waits four minutes to be told
    cohort = output / "cohort"
    make_cohort(cohort, seed, reporter)
    overrides = [(f"{source}.path_to_search", str(cohort)) for source in ("MR", "CT", "ORGANS")]
    overrides += [("SYSTEM.model_dir", str(output / "model")), ("SYSTEM.seed", str(seed)), *(settings or {}).items()]
    config = read_config(find_config("demo"), overrides)
    run.train(config, reporter)
    run.infer(config, reporter)
    summary = run.evaluate(config, reporter)
    scores = compare_with_constant(config, summary, reporter)
    pictures = draw_results(config, output / "pictures", reporter)
    reporter.message(f"pictures: {', '.join(str(path) for path in pictures)}")
    write_report(config, reporter, activations=True)
    return scores


def make_cohort(folder: Path, seed: int, reporter: Reporter) -> None:
    """Writes the phantoms, unless an earlier call did.

    Raises:
        DataError: If the folder holds only a part of them, or those of another seed.
    """
    marker = folder / "seed.txt"
    if marker.is_file():
        if marker.read_text(encoding="utf-8").strip() != str(seed):
            raise DataError(
                f"{folder}: holds the phantoms of seed {marker.read_text(encoding='utf-8').strip()}, not {seed}; "
                "choose another --output"
            )
        return
    with reporter.stage("making phantoms", NUM_SUBJECTS) as stage:
        # Without its marker a cohort is one whose making was interrupted: its files may be replaced.
        write_phantom_cohort(
            folder, NUM_SUBJECTS, "small", seed, overwrite=True, progress=lambda done, total: stage.advance()
        )
    marker.write_text(f"{seed}\n", encoding="utf-8")


def compare_with_constant(config: Config, summary: dict[str, Any], reporter: Reporter) -> dict[str, float]:
    """Sets the results beside the best that a constant can do, on the same held-out subjects and voxels."""
    session = open_session(config, reporter, training=False)
    subjects = session.cohort.phase("inference")
    errors = []
    for subject in subjects:
        truth = subject.images["CT"].read().array
        # The median is the constant of least absolute error; each subject even gets its own.
        errors.append(float(np.abs(truth - np.median(truth)).mean()))
    mae = _mean(summary["ct"], "region", "all", "mae")
    dice = np.mean([row["mean"] for row in summary["organs"] if row["measure"] == "dice"])
    scores = {"ct_mae": mae, "constant_mae": float(np.mean(errors)), "organs_dice": float(dice)}
    reporter.table(
        f"{len(subjects)} held-out phantoms",
        ["", "network", "best constant"],
        [
            ["mean absolute error of the synthetic CT (HU)", scores["ct_mae"], scores["constant_mae"]],
            ["mean Dice of the organs", scores["organs_dice"], 0.0],
        ],
    )
    return scores


def _mean(rows: list[dict[str, Any]], group: str, name: str, measure: str) -> float:
    return next(float(row["mean"]) for row in rows if row[group] == name and row["measure"] == measure)


def draw_results(config: Config, folder: Path, reporter: Reporter) -> list[Path]:
    """Draws MR, true CT, synthetic CT, difference and outlines of every held-out subject, and the training curves."""
    from sfgkeras.analysis.curves import read_curves, write_curves
    from sfgkeras.analysis.pictures import subject_montage
    from sfgkeras.applications.records.files import RunFolder
    from sfgkeras.preprocessing.resampling import resample_like

    session = open_session(config, reporter, training=False)
    names = {name: label for label, name in enumerate(config.tasks["organs"].class_names) if label > 0}
    pictures = []
    subjects = session.cohort.phase("inference")
    with reporter.stage("drawing", len(subjects) + 1) as stage:
        for subject in subjects:
            mr = subject.images["MR"].read()

            def on_mr(image: Any, order: int, fill: float, like: Any = mr) -> np.ndarray:
                return resample_like(image.array, image.affine, like.array.shape, like.affine, order, fill=fill)

            path = folder / f"{subject.subject_id}.png"
            subject_montage(
                path,
                mr.affine,
                image=mr.array,
                truth=on_mr(subject.images["CT"].read(), 1, AIR),
                prediction=read_image(prediction_path(config, subject.subject_id, "ct")).array,
                true_labels=on_mr(subject.images["ORGANS"].read_labels(), 0, 0),
                predicted_labels=read_label_map(prediction_path(config, subject.subject_id, "organs")).array,
                label_names=names,
                window=(-200.0, 600.0),
                unit="HU",
                names={"image": "MR", "truth": "CT", "prediction": "synthetic CT"},
                title=f"{subject.subject_id}, not seen in training",
            )
            pictures.append(path)
            stage.advance(1, path.name)
        curves = folder / "training.png"
        logged = read_curves(RunFolder(config.system.model_dir).logs / "training.csv")
        shown = {name: logged[name] for name in ("iteration", "loss", *config.tasks)}
        write_curves(curves, shown, title="training loss, in all and by task")
        pictures.append(curves)
        stage.advance(1, curves.name)
    return pictures
