"""Which filters the others are best made of: simultaneous orthogonal matching pursuit (Tropp et al. 2006)."""

import numpy as np


def matching_pursuit(rows: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Chooses rows that all rows are nearly mixtures of: `A, w = argmin ||W - A W_w||_F` with `|w| = count`.

    Greedy: the row joins whose direction meets most of what is left of all rows, `sum_n |<r_n, w_j>| / ||w_j||`; then
    all rows are fitted anew by those chosen so far. It is how Lu et al. 2017 (section 3.1) choose the filters of a thin
    layer from those of a trained one.

    Args:
        rows: `(rows, entries)`, e.g. the flattened filters of a layer.
        count: How many to choose, at most as many as there are.

    Returns:
        The chosen rows, ascending, and `A`, `(rows, count)`, by which the chosen rows make each row; a chosen row is
        made of itself alone.

    Examples:
        >>> chosen, mixture = matching_pursuit(np.array([[2.0, 0.0], [0.0, 1.0], [4.0, 1.0]]), 2)
        >>> chosen.tolist(), mixture.round(6).tolist()  # row 0 is half of row 2 less row 1
        ([1, 2], [[-0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    """
    rows = np.asarray(rows, np.float64)
    norms = np.linalg.norm(rows, axis=1)
    directions = np.divide(rows, norms[:, None], out=np.zeros_like(rows), where=norms[:, None] > 0)
    chosen: list[int] = []
    left = rows
    for _ in range(count):
        meeting = np.abs(left @ directions.T).sum(axis=0)
        meeting[chosen] = -1.0
        chosen.append(int(np.argmax(meeting)))
        left = rows - _mixture(rows, chosen) @ rows[chosen]
    order = sorted(chosen)
    mixture = _mixture(rows, order)
    mixture[order] = np.eye(count)
    return np.array(order), mixture


def _mixture(rows: np.ndarray, chosen: list[int]) -> np.ndarray:
    return np.linalg.lstsq(rows[chosen].T, rows.T, rcond=None)[0].T
