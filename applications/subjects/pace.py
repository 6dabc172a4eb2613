"""Whether a run is long enough for what it anneals and learns slowly: the groups of its filters, the temperature."""

import math
from collections.abc import Sequence

from sfgkeras.applications.subjects.epochs import last_iteration
from sfgkeras.config import Config
from sfgkeras.tables.sharing import SHARING

BOUNDED_STEPS = frozenset({"adam", "nadam"})
"""Optimisers whose steps are hardly ever longer than the learning rate, however large the gradients."""
SPARE = 10.0
"""How many times farther than necessary the recommended rate lets the logits go: they do not move in one direction."""


def describe_pace(config: Config, num_subjects: int) -> list[str]:
    """Says where no filter can change its group while a run trains, and where the temperature hardly falls.

    Args:
        config: The configuration.
        num_subjects: Number of training subjects, which decides how many iterations an epoch is.
    """
    iterations = last_iteration(config, num_subjects)
    if iterations == 0 or not SHARING[config.network.sharing].drawn:
        return []
    if config.training.schedule == "auto" and config.training.chosen_settings("schedule").rung_ends(iterations):
        return []
    length = f"max_iter = {iterations} iterations"
    if config.training.max_epochs:
        length = f"the {iterations} iterations of max_epochs = {config.training.max_epochs}"
    return [text for text in (_grouping(config, iterations, length), _temperature(config, iterations, length)) if text]


def _grouping(config: Config, iterations: int, length: str) -> str:
    training, num_tasks = config.training, len(config.tasks)
    if not SHARING[config.network.sharing].learned or config.multitask.random_p_init:
        return ""
    key, rate = ("lr", training.lr) if training.grouping_lr is None else ("grouping_lr", training.grouping_lr)
    start = config.multitask.init_categorical or default_probabilities(num_tasks)
    needed = logits_to_next_group(start)
    if training.optimiser not in BOUNDED_STEPS or rate * iterations >= needed:
        return ""
    return (
        f"[TRAINING] {key} = {rate:g} moves the grouping logits by at most {rate * iterations:.2g} in {length}, and no "
        f"filter changes its group before {needed:.2g}: all stay where they start; set "
        f"grouping_lr = {round_up(SPARE * needed / iterations):g} or more"
    )


def _temperature(config: Config, iterations: int, length: str) -> str:
    multitask = config.multitask
    rate, tau, lowest = multitask.gs_anneal_r, multitask.tau, multitask.min_temp
    if not multitask.use_tau_annealing or tau <= lowest or rate * iterations >= 1:
        return ""
    last = max(lowest, tau * math.exp(-rate * iterations))
    wanted = round_up(math.log(tau / lowest) / iterations)
    return (
        f"[MULTITASK] gs_anneal_r = {rate:g} lets the temperature fall from {tau:g} to {last:.3g} only in "
        f"{length}, and masks stay soft; set gs_anneal_r = {wanted:g}, which reaches min_temp = "
        f"{lowest:g} at the end, or use_tau_annealing = no"
    )


def default_probabilities(num_tasks: int) -> tuple[float, ...]:
    """Returns the paper's initial probabilities, shared last; `grouping` has the same, which would load Keras."""
    return (*[0.4 / num_tasks] * num_tasks, 0.6)


def logits_to_next_group(probabilities: Sequence[float]) -> float:
    """Returns how far logits must move until another group than the first is as probable as the most probable one.

    Probabilities are softplus of the logits over their sum: the most probable one's logit falls, the second one's
    rises, each by the distance returned.
    """
    first, second = sorted((max(p, 1e-8) for p in probabilities), reverse=True)[:2]
    # softplus is monotone: they meet where the logits do.
    return (_inverse_softplus(first) - _inverse_softplus(second)) / 2


def _inverse_softplus(value: float) -> float:
    return value + math.log(-math.expm1(-value))


def round_up(value: float) -> float:
    """Rounds up to one significant digit."""
    unit: float = 10.0 ** math.floor(math.log10(value))
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.1g}")
