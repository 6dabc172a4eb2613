"""Groups whose numbers of filters suit the machine: multiples of a number, at the least cost in probability.

Convolutions of 5, 11 or 21 channels run at half the speed that their multiplies promise, since vector units take 8 or
16 channels at once. Filters are therefore given to groups so that the sum of ln p over all filters, the logarithm of
the probability of the whole allocation, is largest among the allocations whose counts are multiples.
"""

import numpy as np
from keras import ops
from scipy.optimize import Bounds, LinearConstraint, linear_sum_assignment, milp
from scipy.sparse import coo_array

from sfgkeras.grouping import mode_assignment

# Among equal sums the allocation that moves the fewest filters wins; less than what float32 knows of ln p.
_PREFERENCE = 1e-6
# The solver stops within 1e-6 of the best sum; in these units that is far below the preference.
_UNITS = 1e4


def assign_groups(log_probabilities: np.ndarray, multiple_of: int = 1) -> np.ndarray:
    """Gives every filter of a layer its group, with counts that are multiples of a number.

    Where the number of filters is no multiple itself, one group, whichever costs least, holds the rest besides its
    multiple; a layer with fewer filters than `multiple_of` is one group. No task loses everything it reads: one whose
    own and shared filters would be some by the most probable groups keeps some.

    The sum of ln p is largest exactly: given the counts it is an assignment problem, and the best counts are found
    with it as a mixed-integer program, which branches on nothing but the counts (HiGHS).

    Args:
        log_probabilities: ln p of each group, `(filters, groups)`, shared last; finite.
        multiple_of: What counts are multiples of; with 1 every filter has its most probable group, see
            `grouping.mode_assignment`.

    Returns:
        Group of every filter, `(filters,)`.

    Raises:
        ValueError: If `multiple_of` is no positive whole number.

    Examples:
        >>> log_probabilities = np.log([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.1, 0.9]])
        >>> assign_groups(log_probabilities).tolist(), assign_groups(log_probabilities, 2).tolist()
        ([0, 0, 0, 1], [0, 1, 0, 1])
    """
    check_multiple(multiple_of)
    # Of ln p as it is, so that ties are the ties of `mode`.
    mode = ops.convert_to_numpy(mode_assignment(ops.convert_to_tensor(log_probabilities)))
    if multiple_of == 1:
        return mode.argmax(axis=-1)
    scores = np.asarray(log_probabilities, "float64") + _PREFERENCE * mode
    counts = _best_counts(scores, multiple_of, mode.sum(axis=0) > 0)
    # One slot per filter: the filter that gets a slot gets its group.
    slots = np.repeat(np.arange(len(counts)), counts)
    filters, places = linear_sum_assignment(scores[:, slots], maximize=True)
    groups = np.empty(len(scores), int)
    groups[filters] = slots[places]
    return groups


def check_multiple(multiple_of: int) -> int:
    """Returns what counts are to be multiples of, or refuses it.

    Raises:
        ValueError: If it is no positive whole number.
    """
    if isinstance(multiple_of, bool) or not hasattr(multiple_of, "__index__") or multiple_of < 1:
        raise ValueError(f"multiple_of = {multiple_of!r} must be a positive whole number, e.g. 8; 1 forces nothing")
    return int(multiple_of)


def _best_counts(scores: np.ndarray, multiple_of: int, has_filters: np.ndarray) -> np.ndarray:
    """Returns the filters per group of the allocation with the largest sum of scores.

    The unknowns are x, which filter has which group; q, the multiples of each group; and b, which one holds the rest:

        sum_g x_kg = 1        sum_k x_kg = multiple_of q_g + rest b_g        sum_g b_g = 1

    Only q and b have to be whole numbers: for whole counts the best x is whole, too.

    Args:
        scores: `(filters, groups)`.
        multiple_of: At least 2.
        has_filters: Which groups have filters by the most probable groups, `(groups,)`.
    """
    filters, groups = scores.shape
    rest = filters % multiple_of
    num_x = filters * groups
    q, b = num_x + np.arange(groups), num_x + groups + np.arange(groups)
    x = np.arange(num_x)
    by_filter, by_group = x // groups, filters + x % groups
    count_rows = filters + np.arange(groups)
    rest_row = filters + groups
    entries = [
        (by_filter, x, 1.0),
        (by_group, x, 1.0),
        (count_rows, q, -float(multiple_of)),
        (count_rows, b, -float(rest)),
        (np.full(groups, rest_row), b, 1.0),
    ]
    needs = [task for task in range(groups - 1) if has_filters[task] or has_filters[-1]]
    for number, task in enumerate(needs):
        some = np.array([q[task], q[-1], b[task], b[-1]]) if rest else np.array([q[task], q[-1]])
        entries.append((np.full(len(some), rest_row + 1 + number), some, 1.0))
    rows, columns = (np.concatenate([entry[place] for entry in entries]) for place in (0, 1))
    values = np.concatenate([np.full(len(entry[0]), entry[2]) for entry in entries])
    num_rows, num_columns = rest_row + 1 + len(needs), num_x + 2 * groups
    exactly = np.concatenate([np.ones(filters), np.zeros(groups), [1.0]])
    found = milp(
        np.concatenate([-_UNITS * scores.ravel(), np.zeros(2 * groups)]),
        integrality=np.concatenate([np.zeros(num_x), np.ones(2 * groups)]),
        bounds=Bounds(0, np.concatenate([np.ones(num_x), np.full(groups, filters // multiple_of), np.ones(groups)])),
        constraints=LinearConstraint(
            coo_array((values, (rows, columns)), shape=(num_rows, num_columns)).tocsr(),
            np.concatenate([exactly, np.ones(len(needs))]),
            np.concatenate([exactly, np.full(len(needs), np.inf)]),
        ),
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        raise RuntimeError(f"no allocation of {filters} filters in multiples of {multiple_of}: {found.message}")
    whole = np.rint(found.x[num_x:]).astype(int).reshape(2, groups)
    return multiple_of * whole[0] + rest * whole[1]
