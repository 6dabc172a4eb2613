"""The convex hull of a few gradients: the point of it where a convex function of their products is least."""

from typing import Any

from keras import ops

STEPS = 100
TOLERANCE = 1e-6


def lowest_point(products: Any, slopes: Any, factor: Any, present: Any) -> Any:
    """Returns the weights `a` of a point of the hull at which `slopes . a + factor |sum_t a_t g_t|` is least.

    By pairwise Frank-Wolfe steps (Lacoste-Julien and Jaggi 2015, algorithm 3): weight goes from the vertex where the
    function rises most steeply to that where it falls most steeply, as far as is best, which has a closed form. Between
    two vertices that is exact in one step.

    Args:
        products: `g_s . g_t`, float32 `(tasks, tasks)`.
        slopes: float32 `(tasks,)`.
        factor: Scalar, not negative.
        present: Tasks that count, booleans `(tasks,)`; the others have weight 0.

    Returns:
        Weights from 0 up that sum to 1, `(tasks,)`; all 0 where no task counts.
    """
    tasks = products.shape[0]
    there = ops.cast(present, "float32")
    start = ops.divide_no_nan(there, ops.sum(there))
    largest = ops.max(ops.diagonal(products) * there)
    steepest = ops.max(ops.abs(slopes) * there)

    def is_unfinished(step: Any, weights: Any, goes_on: Any) -> Any:
        del step, weights
        return goes_on

    def move(step: Any, weights: Any, goes_on: Any) -> tuple[Any, Any, Any]:
        pulls = ops.sum(products * weights[None, :], axis=1)
        square = ops.maximum(ops.sum(pulls * weights), 0.0)
        norm = ops.sqrt(square)
        rise = slopes + factor * ops.divide_no_nan(pulls, norm)
        to = ops.one_hot(ops.argmin(ops.where(present, rise, _FAR)), tasks, dtype="float32")
        held = ops.logical_and(present, weights > 0.0)
        away = ops.one_hot(ops.argmax(ops.where(held, rise, -_FAR)), tasks, dtype="float32")
        along = to - away
        # How far the least value may still lie below, against what rounding makes of the products.
        below = -ops.sum(rise * along)
        rounding = TOLERANCE * (steepest + factor * ops.divide_no_nan(largest, norm))
        # A hull that holds 0 has its least value there.
        goes_on = ops.logical_and(below > rounding, square > TOLERANCE * largest)
        distance = _best_step(
            square,
            ops.sum(along * pulls),
            ops.sum(along * ops.sum(products * along[None, :], axis=1)),
            ops.sum(slopes * along),
            factor,
            ops.sum(weights * away),
        )
        moved = ops.maximum(weights + ops.where(goes_on, distance, 0.0) * along, 0.0)
        return step + 1, ops.divide_no_nan(moved, ops.sum(moved)), goes_on

    begin = (ops.zeros((), "int32"), start, ops.ones((), "bool"))
    return ops.while_loop(is_unfinished, move, begin, maximum_iterations=STEPS)[1]


_FAR = 3e38


def _best_step(square: Any, product: Any, squared_step: Any, slope: Any, factor: Any, most: Any) -> Any:
    """Returns how far to go: the `x` from 0 to `most` with the least `slope x + factor sqrt(s + 2 p x + q x^2)`.

    The direction is one in which that falls at first.

    Args:
        square: `s`, the square of the norm where the step begins.
        product: `p`, of the point and the direction.
        squared_step: `q`, of the direction with itself.
        slope: Of the linear part along the direction.
        factor: Of the norm.
        most: The largest step.
    """
    # With u = p + q x the square under the root is (u^2 + d) / q. The derivative is 0 where factor sqrt(q) u =
    # -slope sqrt(u^2 + d).
    d = ops.maximum(squared_step * square - product * product, 0.0)
    room = factor * factor * squared_step - slope * slope
    u = -slope * ops.sqrt(ops.divide_no_nan(d, ops.maximum(room, 0.0)))
    lowest = ops.divide_no_nan(u - product, squared_step)
    # Where the linear part is the steeper one, the function falls all the way.
    return ops.clip(ops.where(room > 0.0, lowest, most), 0.0, most)
