"""How well predicted boxes fit true ones, box by box; `sfgkeras.boxes` says what a box is, and measures it in training.

Arrays in, arrays out: every row holds the low and the high corner of a box, `(boxes, 2 * rank)`, in either order.
"""

import numpy as np


def box_iou(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Divides what two boxes share by what they cover together, `(boxes,)`, from 0 to 1.

    Two boxes without area cover nothing: then it is 1 where they are equal, else 0.

    Examples:
        >>> box_iou(np.array([[0, 0, 2, 2]]), np.array([[1, 1, 3, 3]])).round(4).tolist()
        [0.1429]
    """
    intersection, union, _ = _measured(truth, prediction)
    (low, high), (other_low, other_high) = _corners(truth), _corners(prediction)
    equal = np.all((low == other_low) & (high == other_high), axis=-1)
    return np.where(union > 0, intersection / np.where(union > 0, union, 1.0), equal.astype(float))


def box_giou(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Returns the generalised IoU (Rezatofighi et al. 2019), `(boxes,)`, from -1 to 1.

    Examples:
        >>> box_giou(np.array([[0, 0, 1, 1]]), np.array([[3, 0, 4, 1]])).tolist()
        [-0.5]
    """
    _, union, hull = _measured(truth, prediction)
    uncovered = np.where(hull > 0, (hull - union) / np.where(hull > 0, hull, 1.0), 0.0)
    return box_iou(truth, prediction) - uncovered


def centre_distance(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Returns how far the middles of two boxes are from each other, `(boxes,)`, in their unit.

    Examples:
        >>> centre_distance(np.array([[0, 0, 2, 2]]), np.array([[3, 4, 5, 6]])).tolist()
        [5.0]
    """
    (low, high), (other_low, other_high) = _corners(truth), _corners(prediction)
    return np.linalg.norm((low + high - other_low - other_high) / 2, axis=-1)


def _corners(boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    boxes = np.asarray(boxes, np.float64)
    if boxes.ndim != 2 or boxes.shape[1] % 2 or not boxes.shape[1]:
        raise ValueError(f"boxes of shape {boxes.shape} need the shape (boxes, 4) or (boxes, 6): two opposite corners")
    first, second = np.split(boxes, 2, axis=1)
    return np.minimum(first, second), np.maximum(first, second)


def _measured(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the contents of intersection, union and hull, each `(boxes,)`."""
    (low, high), (other_low, other_high) = _corners(truth), _corners(prediction)
    if low.shape != other_low.shape:
        raise ValueError(f"prediction of shape {np.shape(prediction)} does not fit truth of shape {np.shape(truth)}")
    common = np.maximum(np.minimum(high, other_high) - np.maximum(low, other_low), 0.0)
    intersection = common.prod(axis=-1)
    union = (high - low).prod(axis=-1) + (other_high - other_low).prod(axis=-1) - intersection
    return intersection, union, (np.maximum(high, other_high) - np.minimum(low, other_low)).prod(axis=-1)
