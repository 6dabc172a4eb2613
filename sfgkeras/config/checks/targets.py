"""What must hold of the targets of bounding boxes and landmarks, and of tasks whose target is the image."""

from sfgkeras.config.settle import BOX_COLUMNS, Draft
from sfgkeras.config.task_sections import Task
from sfgkeras.quoting import split_list
from sfgkeras.tables.losses import is_told_by_map
from sfgkeras.tables.networks import NETWORKS
from sfgkeras.tables.tasks import learns_image

BOX = "bounding_box"
LANDMARKS = "landmarks"
MOTION = "motion"


def check_boxes(draft: Draft) -> None:
    """Boxes have four columns in slices across z and six in 3-D; only places have units."""
    for name, task in draft.application.tasks.items():
        place = draft.application.place(name, "units")
        if task.type == BOX:
            _check_columns(draft, name, task)
            if task.units == "mm":
                draft.ini.add(*place, "is for landmarks; boxes lie along the voxels", "write pixels or fractions")
        elif task.units != "pixels" and task.type != LANDMARKS:
            message = f"has no meaning for a {task.type}"
            draft.ini.add(*place, message, f"remove it, or use type = {BOX} or {LANDMARKS}")


def check_landmarks(draft: Draft) -> None:
    """Landmarks have names, and as many coordinates as what tells them has axes."""
    for name, task in draft.application.tasks.items():
        if task.type != LANDMARKS or not draft.is_scalar(task.target):
            continue
        place, names = draft.application.place(name, "attribute"), split_list(task.attribute or "")
        if not names:
            draft.ini.need(*place, ", the names of the landmarks", "write e.g. left_eye, right_eye, nose")
        elif len(set(names)) < len(names):
            draft.ini.add(*place, "names a landmark twice", "name each once")
        _check_dimensions(draft, name, task)
        if draft.application.multitask.loss_border and is_told_by_map(task.type, task.loss):
            message = f"cannot be used with heat maps, which task {name!r} learns"
            draft.ini.add(draft.application.section, "loss_border", message, "write 0")


def _check_dimensions(draft: Draft, name: str, task: Task) -> None:
    """Windows show as many axes as landmarks have; only heat maps of slices are put together in 3-D."""
    window, columns = draft.window, task.chosen_settings("type")
    if window is None or columns is None:
        return
    rank, place = 2 if 1 in window else 3, draft.application.place(name, f"{LANDMARKS}_dimensions")
    shown = ", ".join(map(str, window))
    if columns.dimensions == 2 and window[2] != 1:
        draft.ini.add(*place, f"gives x and y, and windows are {shown}", "write 3, or windows with 1 along z")
    elif columns.dimensions > rank and not is_told_by_map(task.type, task.loss):
        message = f"gives x, y and z, and slices of {shown} tell coordinates of two"
        draft.ini.add(*place, message, f"write 2, a window in 3-D, or loss = heat_map in [TASK {name}]")


def check_image_targets(draft: Draft) -> None:
    """A reconstruction or a motion has the image for a target, and no other."""
    images = draft.application.multitask.image
    for name, task in draft.application.tasks.items():
        if learns_image(task.type) and images and task.target not in images:
            learns = "predicts the image itself" if task.type != MOTION else "learns from the image alone"
            message = f"is no image, and a {task.type} {learns}"
            draft.ini.add(*draft.application.place(name, "target"), message, "remove the line, or use regression")
        if learns_image(task.type) and task.inferred is not None:
            message = f"cannot be used for a {task.type}, which is measured against what the network sees"
            draft.ini.add(*draft.application.place(name, "inferred"), message, "remove it")


def check_motion(draft: Draft) -> None:
    """Motion needs a network that sees frames one by one, several of them, and voxels that keep their size."""
    network, images = draft.sections["network"], draft.application.multitask.image
    # A network of the user's own says itself what it cannot, when it is built.
    sees_frames = network.name in NETWORKS and MOTION in NETWORKS[network.name].outputs
    for name, task in draft.application.tasks.items():
        if task.type != MOTION:
            continue
        place = draft.application.place(name, "type")
        if network.name in NETWORKS and not sees_frames:
            draft.ini.add(
                *place, f"needs a network that sees frames one by one, and {network.name} does not", "use qin"
            )
        if len(images) == 1 and draft.sources[images[0]].loader != "hdf5":
            message = "is told from the frames of a sequence, and there is one image only"
            draft.ini.add("MULTITASK", "image", message, "name a source for every frame, e.g. FRAME_1, FRAME_2")
        if network.window_sampling == "resize":
            message = "changes the size of voxels, which displacements count"
            draft.ini.add("NETWORK", "window_sampling", message, "use uniform, with windows as large as the images")


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
