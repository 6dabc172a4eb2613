"""Outlines of a mask along the edges of its pixels, so that what they enclose are exactly its pixels."""

from collections.abc import Iterator

import numpy as np

Point = tuple[int, int]


def outlines(mask: np.ndarray) -> Iterator[np.ndarray]:
    """Yields closed outlines of a mask: outer ones, and those of holes, all of which even-odd filling understands.

    Args:
        mask: Booleans, `(x, y)`.

    Yields:
        Corners `(n, 2)` in voxels, where whole numbers are centres of pixels; the last is not the first again.

    >>> [each.tolist() for each in outlines(np.ones((2, 1), bool))]
    [[[-0.5, -0.5], [1.5, -0.5], [1.5, 0.5], [-0.5, 0.5]]]
    """
    ends = _edges(np.pad(np.asarray(mask, bool), 1))
    while ends:
        start = min(ends)
        loop, here = [start], ends[start].pop()
        _forget(ends, start)
        while here != start:
            loop.append(here)
            following = ends[here].pop()
            _forget(ends, here)
            here = following
        # The padding moved all by one, and pixel n begins half a voxel before its centre.
        yield _corners(np.asarray(loop, float)) - 1.5


def _edges(padded: np.ndarray) -> dict[Point, list[Point]]:
    """Returns where every edge that begins at a grid point ends; the mask lies on one side of all of them."""
    ends: dict[Point, list[Point]] = {}
    for axis in (0, 1):
        step = np.diff(padded.astype(np.int8), axis=axis)
        for sign in (1, -1):
            for x, y in np.argwhere(step == sign).tolist():
                # The edge between a pixel and the next one along the axis.
                one, other = ((x + 1, y), (x + 1, y + 1)) if axis == 0 else ((x, y + 1), (x + 1, y + 1))
                forward = (sign < 0) == (axis == 0)
                begin, end = (one, other) if forward else (other, one)
                ends.setdefault(begin, []).append(end)
    return ends


def _forget(ends: dict[Point, list[Point]], point: Point) -> None:
    if not ends[point]:
        del ends[point]


def _corners(loop: np.ndarray) -> np.ndarray:
    """Leaves out points on straight lines."""
    before, after = loop - np.roll(loop, 1, axis=0), np.roll(loop, -1, axis=0) - loop
    return loop[np.any(before != after, axis=1)]
