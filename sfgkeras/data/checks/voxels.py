"""Checks of voxels: damage, NaN, labels that there should not be, and values that are no weights or no CT."""

from collections.abc import Mapping, Sequence

import numpy as np

from sfgkeras.data.checks.problems import CheckedFile, Problem
from sfgkeras.errors import DataError, counted

_SHOWN_LABELS = 5
_MANY_UNUSED = 2
_LOWEST_WITH_OFFSET, _TISSUE_WITH_OFFSET = -50.0, 500.0
"""A CT whose air is at 0 has nothing far below, and its soft tissue lies about 1064."""


def check_voxels(file: CheckedFile) -> tuple[list[Problem], int | None]:
    """Returns what is wrong with a file's voxels, and the highest label of a label map."""
    try:
        if file.info.role == "labels":
            labels = file.image.read_labels().array
            return _check_labels(file, labels), int(labels.max())
        return _check_values(file, file.image.read().array), None
    except DataError as error:
        return [Problem("error", file.path, str(error))], None


def check_unused_classes(files: Sequence[CheckedFile], highest: Mapping[str, Sequence[int]]) -> list[Problem]:
    """Warns where several of the highest classes occur in no file."""
    problems = []
    for source, found in highest.items():
        first = next(file for file in files if file.source == source)
        count, top = first.info.num_classes, max(found)
        if count is not None and count - (top + 1) >= _MANY_UNUSED:
            message = (
                f"{first.path}: num_classes = {count}, and the highest label of {len(found)} files in [{source}] is "
                f"{top}: classes {top + 1} to {count - 1} are never seen; set num_classes = {top + 1}, or look for "
                "what is missing"
            )
            problems.append(Problem("warning", first.path, message))
    return problems


def _check_labels(file: CheckedFile, labels: np.ndarray) -> list[Problem]:
    low, high = int(labels.min()), int(labels.max())
    count = file.info.num_classes
    problems = []
    if count is not None and (low < 0 or high >= count):
        outside = np.unique(labels[(labels < 0) | (labels >= count)])
        shown = ", ".join(map(str, outside[:_SHOWN_LABELS])) + (", ..." if len(outside) > _SHOWN_LABELS else "")
        held = f"{file.path}: holds {counted(len(outside), 'label')} ({shown}) outside 0 to {count - 1}"
        message = (
            f"{held}; set num_classes = {high + 1} or more, or renumber the labels"
            if low >= 0
            else f"{held}; renumber them"
        )
        problems.append(Problem("error", file.path, message))
    if low == high:
        message = f"{file.path}: holds the label {low} only; check that it is the right file"
        problems.append(Problem("warning", file.path, message))
    return problems


def _check_values(file: CheckedFile, values: np.ndarray) -> list[Problem]:
    finite = np.isfinite(values)
    if not finite.all():
        nan = int(np.isnan(values).sum())
        infinite = int(values.size - finite.sum() - nan)
        message = (
            f"{file.path}: {nan} of its {values.size} voxels are NaN and {infinite} are infinite; "
            "replace them by numbers, e.g. by 0"
        )
        return [Problem("error", file.path, message)]
    low, high = float(values.min()), float(values.max())
    if file.info.is_weight and low < 0:
        message = f"{file.path}: holds {int((values < 0).sum())} negative weights, down to {low:g}; write 0 or more"
        return [Problem("error", file.path, message)]
    if file.info.is_weight and high == 0:
        message = f"{file.path}: holds no weight above 0; give the voxels that count one, or leave the subject out"
        return [Problem("error", file.path, message)]
    if file.info.is_weight:
        return []
    if low == high and file.info.must_vary:
        message = f"{file.path}: holds the value {low:g} only, which whitening cannot bring to unit variance; check it"
        return [Problem("error", file.path, message)]
    if low == high:
        message = f"{file.path}: holds the value {low:g} only; check that it is the right file"
        return [Problem("warning", file.path, message)]
    if file.info.is_ct and low > _LOWEST_WITH_OFFSET and float(np.median(values[values > low])) > _TISSUE_WITH_OFFSET:
        message = (
            f"{file.path}: holds values from {low:g} to {high:g} and no air: they look like Hounsfield units with 1024 "
            "added; subtract it, or write the offset into scl_inter; for what is no CT, e.g. an ADC map, remove "
            f"scaling = ct from [{file.source}]"
        )
        return [Problem("warning", file.path, message)]
    if file.info.is_ct and low >= 0:
        message = (
            f"{file.path}: has no value below 0 (from {low:g} to {high:g}) and cannot be in Hounsfield units, where "
            f"air and fat are below 0; remove scaling = ct from [{file.source}], e.g. for an ADC map, or find the CT"
        )
        return [Problem("warning", file.path, message)]
    return []
