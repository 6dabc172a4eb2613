"""Checks of headers: what may be meant otherwise, windows that do not fit, and grids that differ within a subject."""

from collections.abc import Sequence

from sfgkeras.data.checks.problems import CheckedFile, Problem
from sfgkeras.data.grids import Grid, describe_grid, overlaps, resampled_shape, turned_grid
from sfgkeras.data.image_formats import files_beside, series_files, times
from sfgkeras.data.nifti import Header
from sfgkeras.errors import ConfigError, DataError, counted


def try_header(file: CheckedFile) -> Header | Problem:
    """Returns the header of a file, or why it cannot be read."""
    try:
        return file.image.header()
    except (DataError, ConfigError) as error:
        return Problem("error", file.path, str(error))


def _prepared_shape(file: CheckedFile, header: Header) -> tuple[int, ...]:
    """Returns the shape after the turning and resampling that the source asks for."""
    grid = turned_grid(header, file.info.axcodes)
    return grid.shape if file.info.pixdim is None else resampled_shape(grid.shape, grid.spacing, file.info.pixdim)


def header_warnings(file: CheckedFile, header: Header) -> list[Problem]:
    """Finds what a header says and may not mean: lengths in other units, two places in space, files beside slices."""
    found = []
    if file.image.path.is_dir():
        beside = files_beside(file.image.path, series_files(file.image.path))
        if beside:
            shown = ", ".join(path.name for path in beside[:3]) + (", ..." if len(beside) > 3 else "")
            found.append(f"has {counted(len(beside), 'file')} beside the slices of its series, not read: {shown}")
    if header.nifti is not None:
        unit = header.nifti.get_xyzt_units()[0]
        if unit in ("micron", "meter"):
            found.append(
                f"says that its lengths are in {unit} ({times([round(size, 4) for size in header.spacing])}); they are "
                "taken as mm: correct xyzt_units, or the sizes of its voxels"
            )
        qform, sform = (header.nifti.get_qform(coded=True)[0], header.nifti.get_sform(coded=True)[0])
        if qform is not None and sform is not None:
            apart = Grid(header.shape[:3], qform).distance(Grid(header.shape[:3], sform))
            # Rounded quaternions cost up to a fifth of a voxel in files that are sound.
            if apart > max(header.spacing) / 2:
                found.append(
                    f"its sform and its qform are up to {apart:.1f} mm apart; the sform is taken: set both to the "
                    "right one"
                )
    return [Problem("warning", file.path, f"{file.path}: {text}") for text in found]


def check_window(
    file: CheckedFile, header: Header, window_size: Sequence[int], padding: Sequence[int]
) -> list[Problem]:
    """Finds a volume that is smaller than the window of the network."""
    shape = _prepared_shape(file, header)
    room = [length + 2 * added for length, added in zip(shape, padding, strict=True)]
    if all(window <= length for window, length in zip(window_size, room, strict=True)):
        return []
    padded = f" with volume_padding_size = {', '.join(map(str, padding))}" if any(padding) else ""
    smallest = [max(0, -((length - window) // 2)) for window, length in zip(window_size, shape, strict=True)]
    message = (
        f"{file.path}: is {times(shape)}{padded}, smaller than the window {times(window_size)}; set "
        f"volume_padding_size = {', '.join(map(str, smallest))} or more, "
        f"or spatial_window_size in [{file.source}] to less"
    )
    return [Problem("error", file.path, message)]


def check_grids(files: Sequence[CheckedFile], headers: Sequence[Header | Problem], resampled: bool) -> list[Problem]:
    """Compares every file with the first sound image of its subject."""
    problems = []
    reference: dict[str, tuple[CheckedFile, Header]] = {}
    pairs = [(file, header) for file, header in zip(files, headers, strict=True) if isinstance(header, Header)]
    for file, header in pairs:
        if file.info.role == "image":
            reference.setdefault(file.subject_id, (file, header))
    for file, header in pairs:
        image = reference.get(file.subject_id)
        if image is None or image[0] is file:
            continue
        message = _overlap_problem(header, image[1]) if resampled else _grid_problem((file, header), image)
        if message:
            problems.append(Problem("error", file.path, f"{file.path}: {message}"))
    return problems


def _grid_problem(one: tuple[CheckedFile, Header], image: tuple[CheckedFile, Header]) -> str:
    """Says how two grids differ that should be one, or returns an empty string."""
    (file, header), (image_file, image_header) = one, image
    grid = turned_grid(header, file.info.axcodes)
    sections = f"[{file.source}] and [{image_file.source}]"
    if grid.is_same(turned_grid(image_header, image_file.info.axcodes)):
        if file.info.pixdim == image_file.info.pixdim:
            return ""
        return (
            f"is resampled to pixdim {file.info.pixdim} but its image {image_file.path} to "
            f"{image_file.info.pixdim}; give {sections} the same pixdim"
        )
    if turned_grid(header, "RAS").is_same(turned_grid(image_header, "RAS")):
        return (
            f"is stored as {''.join(header.axcodes)} but its image {image_file.path} as "
            f"{''.join(image_header.axcodes)}; set the same axcodes in {sections}"
        )
    return (
        f"its grid ({describe_grid(header)}) is not that of its image {image_file.path} "
        f"({describe_grid(image_header)}); resample it to the image, or set pixdim in {sections}"
    )


def _overlap_problem(header: Header, image: Header) -> str:
    """Says so if two volumes have no place in common, or returns an empty string."""
    if overlaps(header, image):
        return ""
    return (
        f"lies outside its image {image.path} ({describe_grid(header)}; {describe_grid(image)}); correct "
        "the origin in its header, or check that both are of one subject"
    )
