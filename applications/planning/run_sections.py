"""Lines of `[SYSTEM]`, `[TRAINING]`, `[INFERENCE]` and `[EVALUATION]`: how long, on whom, and what is measured."""

import math
import os
from pathlib import Path

from sfgkeras.applications.planning.facts import Facts
from sfgkeras.applications.planning.lines import Lines
from sfgkeras.applications.planning.network_section import Window
from sfgkeras.errors import counted
from sfgkeras.values import format_value

SEEN = 100
"""How often every window is to be seen."""
ITERATIONS = {False: (2_000, 20_000), True: (5_000, 100_000)}
"""Fewest and most iterations by whether there is a GPU."""
VALIDATIONS = 20
FOLDS = 5
FOR_FOLDS = range(10, 101)
"""Subjects with which folds are worth their time: of fewer a fold has one, of more a held-out part tells enough."""
BONE = (200.0, 3000.0)


def held_out(number: int) -> tuple[float, float, str]:
    """Returns the parts of the subjects for validation and for inference, and why.

    A part is rounded up, so that each phase gets a subject.
    """
    if number < 2:
        return 0.0, 0.0, "one subject: none can be held out, so that results are those of training and prove nothing"
    if number == 2:
        return 0.0, 0.5, "two subjects: one to learn from, one to test on, and none to validate on"
    if number < 5:
        part = 1 / (number + 1)
        part = math.floor(part * 100) / 100
        return part, part, f"{number} subjects: one to validate on and one to test on, which says little"
    if number < 20:
        part = 0.1 if number < 10 else 0.15
        return part, part, f"{number} subjects: {math.ceil(part * number)} to validate on, as many to test on"
    return 0.1, 0.2, f"{number} subjects: a tenth to validate on, a fifth to test on"


def has_folds(facts: Facts) -> bool:
    """Says whether subjects are held out in turn: where nothing says who is for what, of neither few nor many."""
    return not facts.phases and len(facts.teaching) in FOR_FOLDS


def add_system(lines: Lines, facts: Facts) -> None:
    """Adds `[SYSTEM]`."""
    lines.add("SYSTEM", "model_dir", format_value(facts.model_dir), "everything that the run writes")
    if facts.split is not None:
        path = Path(os.path.abspath(facts.split))  # model_dir is not there yet, so that no way leads through it
        lines.add(
            "SYSTEM", "dataset_split_file", format_value(path), f"{facts.split} says which subject is for which phase"
        )
    lines.add("SYSTEM", "num_threads", 2)
    lines.add("SYSTEM", "seed", 0, "the same number gives the same split, weights, windows and results")


def add_training(lines: Lines, facts: Facts, window: Window, batch_size: int) -> None:
    """Adds `[TRAINING]`."""
    validation, inference, why = held_out(len(facts.teaching))
    num_training = len(facts.teaching)
    if facts.phases:
        num_training = sum(facts.phase_of.get(subject) == "training" for subject in facts.teaching)
    elif has_folds(facts):
        num_training -= num_training // FOLDS
    else:
        num_training -= math.ceil(round(validation * num_training, 9)) + math.ceil(round(inference * num_training, 9))
    windows = max(1.0, num_training * window.slices)
    few, many = ITERATIONS[facts.machine.on_gpu]
    wanted = SEEN * windows / batch_size
    iterations = int(min(max(round(wanted, -2), few), many))
    reason = (
        f"{counted(num_training, 'training subject')} with {window.slices:.0f} windows each: to see each {SEEN} times "
        f"takes {wanted:,.0f} batches of {batch_size}; {few:,} to {many:,} are taken"
    )
    lines.add("TRAINING", "max_iter", iterations, reason)
    if len(facts.roles.tasks) > 1:
        lines.add("TRAINING", "schedule", "auto", "four ways to share are tried, the best goes on (docs/schedule.md)")
    lines.add("TRAINING", "lr", "1e-3", "Adam, as in the paper of the method")
    lines.add("TRAINING", "lr_schedule", "polynomial", "it falls to 0 with the iterations, as nnU-Net's")
    _add_augmentation(lines, facts)
    every = max(1, iterations // VALIDATIONS)
    lines.add("TRAINING", "save_every_n", every, f"{VALIDATIONS} states; a killed run goes on from the last one")
    if "validation" in facts.phases if facts.phases else validation > 0:
        lines.add("TRAINING", "validation_every_n", every)
        lines.add("TRAINING", "validation_max_iter", 10)
    if has_folds(facts):
        reason = (
            f"{len(facts.teaching)} subjects: each is held out once, and told by the network that has not seen it; "
            "fold after fold, or one alone with --fold 1 (docs/folds.md)"
        )
        lines.add("TRAINING", "folds", FOLDS, reason)
    elif not facts.phases:
        lines.add("TRAINING", "exclude_fraction_for_validation", f"{validation:g}", why)
        lines.add("TRAINING", "exclude_fraction_for_inference", f"{inference:g}")


def _add_augmentation(lines: Lines, facts: Facts) -> None:
    if facts.rows and not facts.maps:
        why = "small turns and sizes, which change no class or value"
    else:
        why = "windows are turned by up to 10 degrees and scaled by up to 10 %, as in the paper of the method"
    lines.add("TRAINING", "rotation_angle", "-10, 10", why)
    lines.add("TRAINING", "scaling_percentage", "-10, 10")


def add_inference(lines: Lines, facts: Facts) -> None:
    """Adds `[INFERENCE]` and `[EVALUATION]`."""
    if not facts.phases and len(facts.teaching) < 2:
        lines.add("INFERENCE", "dataset_to_infer", "training", "there is one subject, and it is in training")
    elif has_folds(facts):
        lines.add("INFERENCE", "dataset_to_infer", "validation", "every subject, each by the network of its fold")
    elif facts.phases and "inference" not in facts.phases:
        phase = "validation" if "validation" in facts.phases else "training"
        lines.add("INFERENCE", "dataset_to_infer", phase, "no subject is for inference")
    else:
        lines.add("INFERENCE", "dataset_to_infer", "inference", "the subjects that are held out")
    if facts.roles.mask is not None:
        lines.add("EVALUATION", "mask", facts.roles.mask.name, "everything is measured once more inside the body")
    scans = [task for task in facts.maps if task.type == "regression" and facts.contents[task.source].kind == "ct"]
    if scans and facts.contents[scans[0].source].high > BONE[0]:
        high = facts.contents[scans[0].source].high
        why = f"the CT goes up to {high:g} HU: errors in bone are told by themselves"
        lines.add("EVALUATION", "intensity_bounds", f"bone: {BONE[0]:g}, {max(BONE[1], high):g}", why)
