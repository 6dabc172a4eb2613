"""Mathematics of filter groups without any state: probabilities, assignments, entropy, temperature.

Groups come in one order everywhere: task 1 to task T, then shared; `groups = T + 1`. Randomness comes in as
an argument. Everything here is float32 even in a mixed precision network: Gumbel noise in float16 contains
infinities.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from keras import ops

SHARED_PROBABILITY = 0.6
SMALLEST_PROBABILITY = 1e-8
SMALLEST_UNIFORM = float(np.finfo(np.float32).tiny)
DECIDED_PROBABILITY = 0.9
DECIDED_SHARE = 0.95
EXPECTATION_DRAWS = 256


class TemperatureSchedule(NamedTuple):
    """The three numbers of `temperature_schedule`; the defaults are the paper's."""

    initial: float = 1.0
    rate: float = 1e-5
    minimum: float = 0.1


def temperature_schedule(step: Any, initial: float = 1.0, rate: float = 1e-5, minimum: float = 0.1) -> Any:
    """Anneals the temperature exponentially down to a floor (supplement of the paper, section 1.1).

    Args:
        step: Iteration of the optimiser; a number, or an integer tensor of any shape.
        initial: Temperature at step 0.
        rate: Decay per iteration.
        minimum: Floor.

    Returns:
        `max(minimum, initial * exp(-rate * step))` as a float32 tensor.

    Examples:
        >>> tuple(round(float(temperature_schedule(step)), 4) for step in (0, 100_000, 1_000_000))
        (1.0, 0.3679, 0.1)
    """
    decay = ops.exp(ops.cast(step, "float32") * -rate)
    return ops.maximum(minimum, initial * decay)


def log_softplus(logits: Any) -> Any:
    """Returns `ln(ln(1 + e^x))`, exact to rounding also where softplus itself underflows.

    For x below -15 the softplus is e^x to single precision, so its logarithm is x. Both branches have finite
    gradients everywhere.

    Examples:
        >>> [round(float(log_softplus(ops.array(x))), 4) for x in (0.0, -50.0)]  # ln(ln 2); the logit itself
        [-0.3665, -50.0]
    """
    is_small = logits < -15.0
    safe_logits = ops.where(is_small, ops.zeros_like(logits), logits)
    return ops.where(is_small, logits, ops.log(ops.softplus(safe_logits)))


def log_grouping_probabilities(grouping_logits: Any) -> Any:
    """Returns `ln p` for `p = softplus(rho) / sum_g softplus(rho)`; never minus infinity for finite logits.

    Args:
        grouping_logits: The trainable rho, `(filters, groups)`.

    Returns:
        Log probabilities of the same shape.

    Examples:
        >>> print(ops.convert_to_numpy(log_grouping_probabilities(ops.zeros((1, 2)))).round(4))  # ln 0.5
        [[-0.6931 -0.6931]]
    """
    log_weights = log_softplus(grouping_logits)
    return log_weights - ops.logsumexp(log_weights, axis=-1, keepdims=True)


def grouping_probabilities(grouping_logits: Any) -> Any:
    """Returns `p = softplus(rho) / sum_g softplus(rho)`, `(filters, groups)`; every row sums to 1.

    Examples:
        >>> print(ops.convert_to_numpy(grouping_probabilities(ops.zeros((1, 4)))))
        [[0.25 0.25 0.25 0.25]]
    """
    return ops.exp(log_grouping_probabilities(grouping_logits))


def inverse_softplus(values: np.ndarray) -> np.ndarray:
    """Returns the x with `ln(1 + e^x) = values`, computed in float64.

    Examples:
        >>> round(float(inverse_softplus(np.log1p(np.exp(3.0)))), 6)
        3.0
    """
    positive = np.asarray(values, "float64")
    return positive + np.log(-np.expm1(-positive))


def initial_grouping_logits(probabilities: np.ndarray) -> np.ndarray:
    """Returns the logits whose grouping probabilities are the given ones.

    A probability of exactly 0 has no finite logit; it is stored as 1e-8.

    Args:
        probabilities: `(filters, groups)`; rows sum to 1.

    Returns:
        float32 logits of the same shape.

    Examples:
        >>> logits = initial_grouping_logits([[0.2, 0.2, 0.6]])
        >>> print(ops.convert_to_numpy(grouping_probabilities(logits)).round(4))
        [[0.2 0.2 0.6]]
    """
    positive = np.maximum(np.asarray(probabilities, "float64"), SMALLEST_PROBABILITY)
    return inverse_softplus(positive).astype("float32")


def default_probabilities(num_tasks: int) -> tuple[float, ...]:
    """Returns the paper's initial p: 0.6 for the shared group, the rest evenly over the tasks.

    Examples:
        >>> default_probabilities(2)
        (0.2, 0.2, 0.6)
    """
    return ((1.0 - SHARED_PROBABILITY) / num_tasks,) * num_tasks + (SHARED_PROBABILITY,)


def initial_probabilities(
    choice: str | Sequence[float] | None, filters: int, num_tasks: int, random_generator: np.random.Generator
) -> np.ndarray:
    """Returns the grouping probabilities that a layer starts from.

    Args:
        choice: None (the paper's, see `default_probabilities`), one probability per group with shared last,
            `"dirichlet"` (one draw of Dirichlet(1, .., 1) per filter) or `"vertices"` (every filter starts at
            a random vertex of the simplex, softened: 0.9 there, the rest evenly).
        filters: Number of filters.
        num_tasks: Number of tasks.
        random_generator: Used by the two random choices.

    Returns:
        float64 array `(filters, num_tasks + 1)`.

    Raises:
        ValueError: If the choice is unknown, or its numbers do not form a distribution over the groups.

    Examples:
        >>> initial_probabilities((0.5, 0.25, 0.25), 2, 2, np.random.default_rng(0)).tolist()
        [[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]
    """
    num_groups = num_tasks + 1
    if choice is None:
        choice = default_probabilities(num_tasks)
    if isinstance(choice, str):
        if choice == "dirichlet":
            return random_generator.dirichlet(np.ones(num_groups), size=filters)
        if choice == "vertices":
            vertices = np.eye(num_groups)[random_generator.integers(num_groups, size=filters)]
            return vertices * 0.9 + (1.0 - vertices) * (0.1 / num_tasks)
        raise ValueError(
            f"initial_probabilities = {choice!r} is unknown; use 'dirichlet', 'vertices' or {num_groups} numbers"
        )
    row = np.asarray(choice, "float64")
    if row.shape != (num_groups,) or (row < 0).any() or not math.isclose(row.sum(), 1.0, abs_tol=1e-6):
        raise ValueError(
            f"initial_probabilities = {list(choice)} must be {num_groups} numbers from 0 to 1 with sum 1: "
            f"one for each of {num_tasks} tasks, then one for the shared group"
        )
    return np.tile(row / row.sum(), (filters, 1))


def gumbel_noise(uniform: Any) -> Any:
    """Turns uniform samples into standard Gumbel samples, `-ln(-ln u)`.

    Args:
        uniform: Samples of U(0, 1), any shape; exact zeros are moved to the smallest normal float32.

    Returns:
        Gumbel samples of the same shape, all finite.

    Examples:
        >>> round(float(gumbel_noise(ops.array([0.5]))[0]), 4)  # -ln(ln 2)
        0.3665
    """
    return -ops.log(-ops.log(ops.clip(uniform, SMALLEST_UNIFORM, 1.0 - 2.0**-24)))


def relaxed_assignment(log_probabilities: Any, gumbel_noise: Any, temperature: Any) -> Any:
    """Draws a relaxed one-hot group for every filter (Jang et al. 2016, equation 1).

    The noise is added to the logarithm of the probabilities: added to the probabilities themselves, a filter
    with p = (0, 1, 0) would land in its group in only 57.6 % of the draws.

    Args:
        log_probabilities: Log grouping probabilities, `(..., filters, groups)`; minus infinity is allowed.
        gumbel_noise: Standard Gumbel samples of the same shape.
        temperature: Positive scalar; small values give nearly one-hot rows.

    Returns:
        Weights of the same shape; every row sums to 1.

    Examples:
        >>> log_probabilities = ops.log(ops.array([[0.2, 0.8]]))
        >>> print(ops.convert_to_numpy(relaxed_assignment(log_probabilities, ops.zeros((1, 2)), 1.0)).round(4))
        [[0.2 0.8]]
        >>> print(ops.convert_to_numpy(relaxed_assignment(log_probabilities, ops.zeros((1, 2)), 0.1)).round(4))
        [[0. 1.]]
    """
    return ops.softmax((log_probabilities + gumbel_noise) / temperature, axis=-1)


def hard_assignment(log_probabilities: Any, gumbel_noise: Any, temperature: Any) -> Any:
    """Draws a one-hot group for every filter; the gradient is that of the relaxed draw (straight-through).

    Args:
        log_probabilities: Log grouping probabilities, `(..., filters, groups)`.
        gumbel_noise: Standard Gumbel samples of the same shape.
        temperature: Positive scalar; it shapes the gradient only.

    Returns:
        Exactly one-hot rows of the same shape.

    Examples:
        >>> log_probabilities = ops.log(ops.array([[0.2, 0.8]]))
        >>> noise = ops.array([[2.0, 0.0]])  # enough for the group that is the less likely one
        >>> print(ops.convert_to_numpy(hard_assignment(log_probabilities, noise, 1.0)))
        [[1. 0.]]
    """
    relaxed = relaxed_assignment(log_probabilities, gumbel_noise, temperature)
    one_hot = mode_assignment(log_probabilities + gumbel_noise)
    # The bracket is exactly zero forward, so the sum stays exactly one-hot.
    return ops.stop_gradient(one_hot) + (relaxed - ops.stop_gradient(relaxed))


def mode_assignment(scores: Any) -> Any:
    """Returns one-hot rows at the largest score of every filter.

    Tied groups win in turn: filter k takes the first of them from group k modulo the number of groups on.
    Uniform probabilities then spread the filters evenly, where a plain argmax would give all of them to the
    first task.

    Args:
        scores: `(..., filters, groups)`, e.g. probabilities or their logarithms.

    Returns:
        float32 rows of the same shape.

    Examples:
        >>> print(ops.convert_to_numpy(mode_assignment(ops.array([[0.2, 0.8], [0.5, 0.5], [0.5, 0.5]]))))
        [[0. 1.]
         [0. 1.]
         [1. 0.]]
    """
    filters, num_groups = scores.shape[-2:]
    distance = (np.arange(num_groups) - np.arange(filters)[:, None]) % num_groups
    is_largest = ops.equal(scores, ops.max(scores, axis=-1, keepdims=True))
    preference = ops.where(is_largest, num_groups - distance, 0)
    return ops.one_hot(ops.argmax(preference, axis=-1), num_groups, dtype="float32")


def expected_assignment(log_probabilities: Any, temperature: Any) -> Any:
    """Returns the mean of `relaxed_assignment` over its noise: the masks that a training saw on the average.

    At temperature 0 it is p itself; the higher the temperature, the closer it is to equal parts for all groups. The
    mean is taken over fixed points that fill the unit cube evenly (an additive recurrence by the generalised golden
    ratio; Roberts 2018), so it is the same at every call and on every backend, to 0.04 of the exact mean for up to
    four groups and to 0.07 for six.

    Args:
        log_probabilities: Log grouping probabilities, `(filters, groups)`.
        temperature: Positive scalar.

    Returns:
        Weights of the same shape; every row sums to 1.

    Examples:
        >>> log_probabilities = ops.log(ops.array([[0.2, 0.8]]))
        >>> print(ops.convert_to_numpy(expected_assignment(log_probabilities, 0.01)).round(1))
        [[0.2 0.8]]
        >>> print(ops.convert_to_numpy(expected_assignment(log_probabilities, 1000.0)).round(1))
        [[0.5 0.5]]
    """
    noise = ops.convert_to_tensor(_even_noise(log_probabilities.shape[-1]))
    return ops.mean(relaxed_assignment(log_probabilities[None], noise[:, None], temperature), axis=0)


def _even_noise(num_groups: int) -> np.ndarray:
    """Returns standard Gumbel values at points that fill the unit cube evenly, float32 `(draws, groups)`."""
    ratio = 2.0
    for _ in range(64):  # the one positive root of x^(groups + 1) = x + 1
        ratio = (1.0 + ratio) ** (1.0 / (num_groups + 1))
    steps = ratio ** -np.arange(1.0, num_groups + 1.0)
    points = (0.5 + np.arange(EXPECTATION_DRAWS)[:, None] * steps) % 1.0
    return -np.log(-np.log(np.clip(points, 1e-12, 1.0 - 1e-12))).astype("float32")


def undecided_share(probabilities: Sequence[Any]) -> Any:
    """Returns the share of filters, over all layers, that no group has with a probability of at least 0.9.

    Args:
        probabilities: Grouping probabilities of every layer, `(filters, groups)`; at least one layer.

    Returns:
        A float32 scalar from 0 to 1.

    Examples:
        >>> float(undecided_share([ops.array([[0.95, 0.05], [0.5, 0.5]])]))
        0.5
    """
    largest = [ops.max(ops.cast(layer, "float32"), axis=-1) for layer in probabilities]
    is_undecided = ops.concatenate(largest, axis=0) < DECIDED_PROBABILITY - 1e-6
    return ops.mean(ops.cast(is_undecided, "float32"))


def is_decided(share: Any) -> Any:
    """Tells whether masks of `mode` fit a training: at least 95 % of the filters have their group.

    Args:
        share: What `undecided_share` returned.

    Examples:
        >>> is_decided(0.04), is_decided(0.06)
        (True, False)
    """
    return share <= 1.0 - DECIDED_SHARE + 1e-6


def entropy(probabilities: Any) -> Any:
    """Returns `H(p) = -sum_g p_g ln p_g` for every filter, with `0 ln 0 = 0`.

    Args:
        probabilities: `(..., groups)`.

    Returns:
        Entropies in nats, `(...)`, from 0 to `ln(groups)`.

    Examples:
        >>> round(float(entropy(ops.array([0.25, 0.25, 0.25, 0.25]))), 4)  # ln 4
        1.3863
    """
    probabilities = ops.convert_to_tensor(probabilities)
    safe = ops.where(probabilities > 0, probabilities, ops.ones_like(probabilities))
    return -ops.sum(probabilities * ops.log(safe), axis=-1)


def count_allocation(filters: int, fractions: Sequence[float], multiple_of: int = 1) -> tuple[int, ...]:
    """Splits filters over groups by fractions, by the largest remainder; the shared (last) group wins ties.

    Sixteen filters in thirds become (5, 5, 6).

    Args:
        filters: Number of filters.
        fractions: One fraction per group, shared last; sum 1.
        multiple_of: What the counts are multiples of; the group that is then furthest below its fraction has what is
            left over.

    Returns:
        Filters per group; their sum is `filters`.

    Raises:
        ValueError: If the fractions are negative or do not sum to 1.

    Examples:
        >>> count_allocation(16, (1 / 3, 1 / 3, 1 / 3)), count_allocation(18, (1 / 3, 1 / 3, 1 / 3), 8)
        ((5, 5, 6), (8, 2, 8))
    """
    shares = np.asarray(fractions, "float64")
    if (shares < 0).any() or not math.isclose(shares.sum(), 1.0, abs_tol=1e-6):
        raise ValueError(f"fractions = {list(fractions)} must be numbers from 0 to 1 with sum 1")
    units, rest = divmod(filters, multiple_of)
    counts = _largest_remainders(shares * units) * multiple_of
    if rest:
        counts[_by_deficit(counts, shares * filters)[0]] += rest
    return tuple(int(count) for count in counts)


def _largest_remainders(exact: np.ndarray) -> np.ndarray:
    """Rounds numbers whose sum is whole to whole ones of the same sum."""
    counts = np.floor(exact + 1e-9).astype(int)
    for group in _by_deficit(counts, exact)[: round(exact.sum()) - counts.sum()]:
        counts[group] += 1
    return counts


def _by_deficit(counts: np.ndarray, exact: np.ndarray) -> list[int]:
    """Returns the groups, the one furthest below its number first; the shared (last) one before others like it."""
    last = len(counts) - 1
    return sorted(range(len(counts)), key=lambda group: (round(counts[group] - exact[group], 9), group != last, group))


def draw_allocation(
    filters: int,
    fractions: Sequence[float],
    random_generator: np.random.Generator | None = None,
    multiple_of: int = 1,
) -> np.ndarray:
    """Gives every filter one group, by fixed fractions.

    Args:
        filters: Number of filters.
        fractions: One fraction per group, shared last.
        random_generator: Which filters go where is drawn from it; None keeps the groups in order.
        multiple_of: See `count_allocation`.

    Returns:
        Group index of every filter, `(filters,)`.

    Examples:
        >>> draw_allocation(4, (0.25, 0.25, 0.5)).tolist()
        [0, 1, 2, 2]
    """
    groups = np.repeat(np.arange(len(fractions)), count_allocation(filters, fractions, multiple_of))
    return groups if random_generator is None else random_generator.permutation(groups)
