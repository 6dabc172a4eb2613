"""Lines of input sources and of `[PREPROCESSING]`: where images are, how they are turned, resampled and corrected."""

from collections.abc import Sequence

from sfgkeras.applications.planning.contents import Content
from sfgkeras.applications.planning.facts import Facts
from sfgkeras.applications.planning.geometry import AXES
from sfgkeras.applications.planning.lines import Lines, listed
from sfgkeras.applications.planning.sources import FoundSource
from sfgkeras.errors import counted

STRONG_BIAS = 2.0
"""Factor by which a smooth field varies from which on N4 is worth its time: coils near the body, not anatomy."""
FEW_MISSING = 5


def choose_spacing(facts: Facts) -> tuple[tuple[float, float, float] | None, str]:
    """Returns the voxels that all volumes are brought to, None where they stay as they are, and why."""
    if facts.is_photo:
        return None, ""
    spacing, why = facts.geometry.target_spacing()
    if facts.geometry.is_uniform and facts.on_one_grid:
        return None, (
            f"no pixdim: all volumes have {facts.geometry.describe_spacings()}, and all sources of a subject lie on "
            "one grid, so that nothing has to be resampled"
        )
    if not facts.on_one_grid:
        why += f"; the sources of a subject lie on different grids, and are brought onto that of {facts.first.name}"
    return spacing, why


def add_sources(lines: Lines, facts: Facts, spacing: Sequence[float] | None, why: str) -> None:
    """Adds a section for every source."""
    for source in facts.roles.used:
        lines.head(source.name, _head(facts, source))
        for number, (key, value) in enumerate(source.keys.items()):
            lines.add(source.name, key, value, source.reason if number == 0 else "")
        if source in facts.contents and not facts.is_photo:
            _add_grid(lines, facts, source, spacing, why)
        _add_values(lines, facts, source)


def _add_grid(lines: Lines, facts: Facts, source: FoundSource, spacing: Sequence[float] | None, why: str) -> None:
    stored = facts.geometry.orientations
    is_first = source is facts.first
    if spacing is not None:
        lines.add(source.name, "pixdim", listed(spacing), why if is_first else "")
    elif is_first and why:
        lines.head(source.name, f"{lines.heads[source.name]} {why[0].upper()}{why[1:]}.")
    shown = ", ".join(f"{name}: {count}" for name, count in stored.items())
    reason = f"one orientation for all, x to the right, y to the front, z to the head; files are stored as {shown}"
    lines.add(source.name, "axcodes", listed(AXES), reason if is_first else "")


def _add_values(lines: Lines, facts: Facts, source: FoundSource) -> None:
    content = facts.contents.get(source)
    if content is None or facts.is_photo:
        return
    is_target = any(task.source is source for task in facts.roles.tasks)
    if content.kind == "ct" and is_target:
        lines.add(source.name, "scaling", "ct", f"Hounsfield units are learned as CT/1024 + 1: {content.why}")
    if content.kind == "labels" or source is facts.roles.mask:
        lines.add(source.name, "interp_order", 0, "labels are taken from the nearest voxel")
    elif source in facts.roles.images:
        lines.add(source.name, "interp_order", 1, "linear, where it is resampled or turned at random")


def _head(facts: Facts, source: FoundSource) -> str:
    """Says what a source is, how much of it there is, and what is missing."""
    content = facts.contents.get(source)
    noun = "row" if source not in facts.contents or "hdf5_file" in source.keys else "file"
    uses = ["what the network sees"] if source in facts.roles.images else []
    uses += [f"the target of {task.name}" for task in facts.roles.tasks if task.source is source]
    uses += ["the region that results are measured in"] if source is facts.roles.mask else []
    text = f"{' and '.join(uses)}: {counted(len(source.images), noun)}"
    if source is facts.first:
        text += f", {facts.geometry.describe_shapes()}"
        text += "" if facts.is_photo else f" of {facts.geometry.describe_spacings()}"
    if content is not None:
        text += f"; {describe(content, len(source.images))}"
    missing = sorted(set(facts.first.images) - set(source.images))
    if missing:
        shown = ", ".join(missing[:FEW_MISSING]) + (", ..." if len(missing) > FEW_MISSING else "")
        text += f". {counted(len(missing), 'subject')} of {len(facts.first.images)} lack it: {shown}"
    return f"{text}."


def describe(content: Content, total: int) -> str:
    """Words what the voxels of a source are, and how many images that was seen in."""
    seen = f"{content.num_read} of {total} read" if content.num_read < total else "all read"
    if content.kind == "labels":
        shown = ", ".join(map(str, content.labels[:12])) + (", ..." if len(content.labels) > 12 else "")
        return f"labels {shown}; {content.foreground:.2%} of the voxels are not 0 ({seen})"
    kinds = {"ct": "CT in Hounsfield units", "quantity": "a map of a quantity", "image": "intensities"}
    return f"{kinds.get(content.kind, content.kind)} from {content.low:g} to {content.high:g} ({seen})"


def add_preprocessing(lines: Lines, facts: Facts) -> None:
    """Adds what is done to images once: N4 where a coil shows, clipping of a CT."""
    biased = [
        source
        for source in facts.roles.images
        if facts.contents[source].kind == "image" and facts.contents[source].bias >= STRONG_BIAS and not facts.is_photo
    ]
    scans = [source for source in facts.roles.images if facts.contents[source].kind == "ct"]
    if biased:
        shown = ", ".join(f"{source.name} {facts.contents[source].bias:.1f}" for source in biased)
        why = (
            f"N4 bias field correction: a smooth field fitted to the intensities varies by a factor of ({shown}), "
            f"{STRONG_BIAS:g} or more, as near a coil"
        )
        lines.add("PREPROCESSING", "steps", "n4", why)
        lines.add("PREPROCESSING", "n4_shrink_factor", 4, "a coarse grid, as usual: the field is smooth")
    elif scans:
        low, high = facts.contents[scans[0]].clip
        why = (
            f"air and metal tell nothing about soft tissue: 0.5 % of what is denser than lung lies below {low:g} HU, "
            f"0.5 % above {high:g} HU"
        )
        lines.add("PREPROCESSING", "steps", "clip", why)
        lines.add("PREPROCESSING", "clip_limits", listed((low, high)))
    else:
        return
    names = listed(source.name for source in biased or scans)
    lines.add("PREPROCESSING", "sources", names)
    lines.add("PREPROCESSING", "workers", 2, "two subjects at a time; each needs the memory of a few volumes")
