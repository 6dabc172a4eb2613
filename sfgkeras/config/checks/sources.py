"""Checks of input sources: where files are, and whether all volumes lie on one grid."""

from sfgkeras.config.checks.words import listed
from sfgkeras.config.settle import Draft, label_sources
from sfgkeras.config.task_sections import InputSource


def check_sources(draft: Draft) -> None:
    """Every source says where its files are, and no option contradicts its loader."""
    for name, source in draft.sources.items():
        if source.loader == "table":
            if source.csv_file is None:
                draft.ini.need(name, "csv_file", ", the table that loader = table reads")
            for key in ("filename_attributes", "path_to_search"):
                if getattr(source, key):
                    draft.ini.add(name, key, "has no use with loader = table", "remove one of them")
        elif source.loader == "hdf5":
            _check_hdf5(draft, name, source)
        elif source.csv_file is None and not source.path_to_search:
            draft.ini.need(name, "path_to_search", ", the folder of its files, or csv_file, a list of them")
        if source.csv_file is not None and source.layout != "flat":
            draft.ini.add(name, "layout", "has no use with csv_file, which lists ids and files", "remove one of them")
    for name in label_sources(draft):
        if draft.sources[name].interp_order != 0:
            draft.ini.add(name, "interp_order", "would mix labels", "write 0, or leave the line out")
        if draft.sources[name].scaling != "none":
            draft.ini.add(name, "scaling", "would change labels", "remove the line")
        if draft.sources[name].outside not in ("auto", "none"):
            draft.ini.add(name, "outside", "would leave out a label", "remove the line, or use weight for a weight map")


_NAME_KEYS = (
    "csv_file",
    "filename_contains",
    "filename_not_contains",
    "filename_removefromid",
    "filename_attributes",
    "layout",
)


def _check_hdf5(draft: Draft, name: str, source: InputSource) -> None:
    if source.settings_of("loader").get("file") is None:
        draft.ini.need(name, "hdf5_file", ", the file that loader = hdf5 reads")
    for key in _NAME_KEYS:
        # Written out with its default it says nothing: a run's own configuration has every key.
        if getattr(source, key) != InputSource.model_fields[key].default:
            draft.ini.add(name, key, "has no use with loader = hdf5, whose subjects are rows of a file", "remove it")


def check_images(draft: Draft) -> None:
    """The image has a window that every volume shares, and every volume lies on the first image's grid."""
    ini, images = draft.ini, [name for name in draft.application.multitask.image if name in draft.sources]
    for name in images:
        source = draft.sources[name]
        if source.loader == "hdf5" and source.gives_values:
            ini.add(name, "hdf5_content", "gives numbers, and an image is needed", "write images, or remove the line")
        elif source.gives_values and not source.filename_attributes:
            ini.add(name, "loader", "reads numbers, and an image is needed", "choose nibabel, simpleitk or pillow")
    window = draft.window
    if window is None:
        for name in images[:1]:
            ini.need(name, "spatial_window_size", ", the window of training", "write e.g. 128, 128, 1")
        return
    for name in [*images, *draft.map_sources]:
        own = draft.sources[name].spatial_window_size
        is_niftynets = draft.application.name != "multi_task" or draft.application.authors_spelling
        if own is not None and own != window and name not in images and is_niftynets:
            draft.warnings.append(
                f"[{name}] spatial_window_size = {listed(own)} has no effect: the network's outputs are as large as "
                f"the image's window {listed(window)}"
            )
        elif own is not None and own != window:
            ini.add(
                name,
                "spatial_window_size",
                f"differs from the image's window {listed(window)}",
                "use the same size",
            )
        for key in ("axcodes", "pixdim"):
            own, first = getattr(draft.sources[name], key), getattr(draft.sources[images[0]], key)
            if own is not None and own != first:
                wanted = listed(first) if first else f"the file's own, as it has no {key}"
                ini.add(name, key, f"differs from [{images[0]}], whose grid all volumes take", f"write {wanted}")
    if window.count(1) > 1:
        name = next(name for name in images if draft.sources[name].spatial_window_size)
        ini.add(
            name,
            "spatial_window_size",
            "has more than one axis of 1",
            "one makes 2-D slices, none makes 3-D windows",
        )


def warn_unused_sources(draft: Draft) -> None:
    """Warns of input sources that nothing refers to; in a row of a study another row may."""
    if draft.row is not None:
        return
    multitask = draft.application.multitask
    used = {*multitask.image, multitask.weight, multitask.sampler, draft.sections["evaluation"].mask}
    used |= {task.target for task in draft.application.tasks.values()}
    draft.warnings.extend(
        f"[{name}] is an input source that no image, task, weight or sampler refers to"
        for name in draft.sources
        if name not in used
    )
