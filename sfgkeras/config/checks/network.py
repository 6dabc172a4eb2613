"""Checks of the network: its windows and masks, and what filter groups start from."""

import math

from sfgkeras.config.settle import Draft
from sfgkeras.config.task_sections import Multitask
from sfgkeras.tables.networks import gives_only
from sfgkeras.tables.samplers import SAMPLERS
from sfgkeras.tables.sharing import SHARING

_MECHANISMS_OF = {
    "cost_weight": ("sfg",),
    "group_multiple": ("sfg", "constant_p", "constant_mask"),
    "cross_stitch_init": ("cross_stitch",),
    "cross_stitch_per_channel": ("cross_stitch",),
    "cross_stitch_decay": ("cross_stitch",),
}
"""The mechanisms that have what a key of `[MULTITASK]` sets."""

GROUPING_WINDOW = 10_000
"""Iterations over which the grouping probabilities must stand still (`callbacks.GroupingConvergence`)."""


FEWEST_NOTES = 10
"""Notes of them that this takes at least: between two or three they may have moved and come back."""


def check_network(draft: Draft) -> None:
    """Normalisation has its file, the sampler its source, the loss border a map to lie in, and XLA its way."""
    ini, network, application = draft.ini, draft.sections["network"], draft.application
    multitask = application.multitask
    if network.normalisation and network.histogram_ref_file is None:
        ini.need("NETWORK", "histogram_ref_file", ", the file of landmarks that normalisation = yes fits or reads")
    if SAMPLERS[network.window_sampling].needs_source and multitask.sampler is None:
        ini.add(
            "NETWORK",
            "window_sampling",
            "needs a source to draw by",
            f"set sampler in [{application.section}] to an input source",
        )
    elif multitask.sampler is not None and not SAMPLERS[network.window_sampling].needs_source:
        draft.warnings.append(
            f"[{application.section}] sampler = {multitask.sampler} has no effect with window_sampling = "
            f"{network.window_sampling}; use weighted or balanced"
        )
    if multitask.loss_border and SAMPLERS[network.window_sampling].whole:
        ini.add(application.section, "loss_border", "cannot be used with window_sampling = resize", "write 0")
    elif multitask.loss_border and not draft.has_maps():
        ini.add(
            application.section,
            "loss_border",
            f"has no meaning for {network.name}, which predicts no map",
            "write 0",
        )
    if network.deep_supervision and not (draft.has_maps() and not gives_only(network.name, "vector")):
        message = "is for maps with a target for every voxel, and no task is one"
        ini.add("NETWORK", "deep_supervision", message, "write 0")
    system = draft.sections["system"]
    if system.jit_compile and system.rematerialise != "none":
        message = "has no effect with jit_compile = yes: XLA chooses what to keep"
        ini.add("SYSTEM", "rematerialise", message, "write none, or jit_compile = no")


def check_grouping(draft: Draft) -> None:
    """The groups' probabilities are probabilities, and the temperature can fall."""
    ini, network, multitask = draft.ini, draft.sections["network"], draft.application.multitask
    probabilities, num_tasks = multitask.init_categorical, len(draft.application.tasks)
    if probabilities is not None and draft.application.complete:
        groups = ", ".join([*draft.application.tasks, "shared"])
        own = [("SHARING", key) for key in ("initial_probabilities", "fractions") if ini.has("SHARING", key)]
        place = own[0] if own else ("MULTITASK", "init_categorical")
        if len(probabilities) != num_tasks + 1:
            message = f"has {len(probabilities)} numbers for {num_tasks + 1} groups"
            ini.add(*place, message, f"give one each for {groups}")
        elif min(probabilities) < 0 or not math.isclose(sum(probabilities), 1, abs_tol=5e-3):
            remedy = f"write probabilities from 0 up that sum to 1, for {groups}"
            ini.add(*place, f"sums to {sum(probabilities):g}", remedy)
        elif multitask.random_p_init:
            ini.add("MULTITASK", "random_p_init", "contradicts init_categorical", "keep one of them")
    if multitask.use_tau_annealing and multitask.min_temp > multitask.tau:
        ini.add(
            "MULTITASK",
            "min_temp",
            f"is above tau = {multitask.tau:g}, where the temperature starts",
            "lower it",
        )
    for key, mechanisms in _MECHANISMS_OF.items():
        is_said = ini.has("MULTITASK", key) and getattr(multitask, key) != Multitask.model_fields[key].default
        if is_said and network.sharing not in mechanisms:
            remedy = " or ".join(mechanisms)
            draft.warnings.append(
                f"[MULTITASK] {key} has no effect with [NETWORK] sharing = {network.sharing}; use {remedy}"
            )
    _check_grouping_convergence(draft)


def _check_grouping_convergence(draft: Draft) -> None:
    """A training that is to end once p stands still must look at it, and often enough."""
    ini, network, training = draft.ini, draft.sections["network"], draft.sections["training"]
    if not training.stop_when_grouping_converges:
        return
    if not SHARING[network.sharing].learned:
        message = f"never happens with [NETWORK] sharing = {network.sharing}"
        ini.add("TRAINING", "stop_when_grouping_converges", message, "use sharing = sfg, or no")
    elif training.grouping_every_n > GROUPING_WINDOW // FEWEST_NOTES:
        ini.add(
            "TRAINING",
            "grouping_every_n",
            f"is too long for stop_when_grouping_converges, which looks at {FEWEST_NOTES} notes in {GROUPING_WINDOW:,} "
            f"iterations or more",
            f"write {GROUPING_WINDOW // FEWEST_NOTES} at most, or 0",
        )


def check_monte_carlo(draft: Draft) -> None:
    """Several passes are only asked for where they differ."""
    ini, network, inference = draft.ini, draft.sections["network"], draft.sections["inference"]
    if inference.monte_carlo == 1:
        ini.add("INFERENCE", "monte_carlo", "has no spread", "write 2 or more passes, or 0")
    elif inference.monte_carlo and not SHARING[network.sharing].drawn:
        ini.add(
            "INFERENCE",
            "monte_carlo",
            f"repeats equal passes: [NETWORK] sharing = {network.sharing} draws no masks",
            "use sharing = sfg, or 0",
        )
    elif inference.monte_carlo and inference.masks != "sample":
        ini.add(
            "INFERENCE", "monte_carlo", f"repeats equal passes with masks = {inference.masks}", "use masks = sample"
        )
