"""What must hold of the targets of bounding boxes and of reconstructions."""

from sfgkeras.config.settle import BOX_COLUMNS, Draft
from sfgkeras.config.task_sections import Task
from sfgkeras.quoting import split_list

BOX = "bounding_box"
RECONSTRUCTION = "reconstruction"


def check_boxes(draft: Draft) -> None:
    """Boxes have four columns in slices across z and six in 3-D; only they have units."""
    for name, task in draft.application.tasks.items():
        if task.type == BOX:
            _check_columns(draft, name, task)
        elif task.units != "pixels":
            message = f"has no meaning for a {task.type}"
            draft.ini.add(*draft.application.place(name, "units"), message, f"remove it, or use type = {BOX}")


def check_reconstructions(draft: Draft) -> None:
    """A reconstruction has the image for a target, and no other."""
    images = draft.application.multitask.image
    for name, task in draft.application.tasks.items():
        if task.type == RECONSTRUCTION and images and task.target not in images:
            message = f"is no image, and a {RECONSTRUCTION} predicts the image itself"
            draft.ini.add(*draft.application.place(name, "target"), message, "remove the line, or use regression")
        if task.type == RECONSTRUCTION and task.inferred is not None:
            message = f"cannot be used for a {RECONSTRUCTION}, which is measured against what the network sees"
            draft.ini.add(*draft.application.place(name, "inferred"), message, "remove it")


def _check_columns(draft: Draft, name: str, task: Task) -> None:
    window, place = draft.window, draft.application.place(name, "attribute")
    if window is None or task.attribute is None:
        return
    rank = 2 if 1 in window else 3
    columns = split_list(task.attribute)
    if len(set(columns)) < len(columns):
        draft.ini.add(*place, "names a column twice", "name the low corner, then the high corner")
    elif len(columns) != 2 * rank:
        shown = ", ".join(map(str, window))
        message = f"names {len(columns)} columns, and a box in windows of {shown} has {2 * rank}"
        draft.ini.add(*place, message, f"write e.g. {BOX_COLUMNS[rank]}")
    elif rank == 2 and window[2] != 1:
        images = draft.application.multitask.image
        section = next((image for image in images if draft.sources[image].spatial_window_size), images[0])
        message = f"slices across another axis than z, and the box of task {name!r} has x and y"
        draft.ini.add(section, "spatial_window_size", message, "write e.g. 64, 64, 1")
