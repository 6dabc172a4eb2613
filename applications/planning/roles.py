"""What each source is for: what the network sees, what it learns, what results are measured in, what is left out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sfgkeras.applications.planning.contents import Content
from sfgkeras.applications.planning.geometry import relation
from sfgkeras.applications.planning.rows import ValueTask
from sfgkeras.applications.planning.sources import FoundSource
from sfgkeras.applications.planning.words import SURFACES, is_body, meaning
from sfgkeras.errors import DataError, counted, did_you_mean

BODY = 0.15
"""Share of the voxels from which on a mask called mask or body is the patient's outline."""
COVERED = 0.9
"""Share of the subjects that a further contrast must have to be seen beside the first one."""


@dataclass(frozen=True)
class PlannedTask:
    """A task to be learned.

    Attributes:
        name: Its name.
        type: Its type.
        source: Where its target is.
        why: Why it is one, with the numbers.
        values: What its row of values tells; None for images.
    """

    name: str
    type: str
    source: FoundSource
    why: str
    values: ValueTask | None = None


@dataclass
class Roles:
    """What is for what.

    Attributes:
        images: What the network sees; the first one sets the grid.
        why_images: Why.
        tasks: What it learns.
        mask: The outline of the body, in which results are measured once more.
        left_out: Sources that are not used, with the reason.
        doubts: What was decided and might be meant otherwise.
    """

    images: list[FoundSource] = field(default_factory=list)
    why_images: str = ""
    tasks: list[PlannedTask] = field(default_factory=list)
    mask: FoundSource | None = None
    left_out: dict[str, str] = field(default_factory=dict)
    doubts: list[str] = field(default_factory=list)

    @property
    def used(self) -> list[FoundSource]:
        """All sources that the file will have, images first, each once."""
        found = [*self.images, *(task.source for task in self.tasks), *([self.mask] if self.mask else [])]
        return list(dict.fromkeys(found))


def assign(
    contents: Mapping[FoundSource, Content],
    images: Sequence[str] = (),
    targets: Sequence[str] = (),
) -> Roles:
    """Decides what each source of images is for.

    Args:
        contents: The sources with what they hold.
        images: Names of sources that the user wants the network to see.
        targets: Names of sources, or of columns, that the user wants learned.

    Raises:
        DataError: If nothing can be seen; says what was found.
    """
    roles = Roles()
    usable = {}
    for source, content in contents.items():
        if content.kind in ("broken", "constant"):
            roles.left_out[source.name] = content.why
        else:
            usable[source] = content
    named_targets = {name.upper() for name in targets}
    _choose_images(roles, usable, [name.upper() for name in images], named_targets)
    _choose_maps(roles, usable, named_targets)
    return roles


def add_values(
    roles: Roles,
    contents: Mapping[FoundSource, Content],
    values: Sequence[tuple[FoundSource, ValueTask]],
    targets: Sequence[str] = (),
) -> None:
    """Adds what rows of values tell of the subjects, whose ids are final now.

    Args:
        roles: What each source of images is for.
        contents: The sources of images with what they hold.
        values: Sources of values with what they tell.
        targets: Names of sources, or of columns, that the user wants learned.

    Raises:
        DataError: If nothing is learned; says what was found.
    """
    first, named_targets = roles.images[0], {name.upper() for name in targets}
    for source, told in values:
        if named_targets and not {source.name, told.name.upper()} & named_targets:
            roles.left_out[f"{source.name} {told.name}"] = "not among --target"
        elif source.images.keys() & first.images.keys():
            taken = {task.name for task in roles.tasks}
            name = _task_name(told, taken)
            roles.tasks.append(PlannedTask(name, told.type, source, told.why, told))
        else:
            example = f"{next(iter(source.images))!r} against {next(iter(first.images))!r}"
            roles.left_out[f"{source.name} {told.name}"] = f"its ids are none of the images', e.g. {example}"
    if not roles.tasks:
        raise DataError(_no_target(roles, contents))


def _task_name(told: ValueTask, taken: set[str]) -> str:
    """Returns a name that no other task has: `has_lesion` of a class beside the label map `lesion`."""
    plain = "".join(c if c.isalnum() or c in "_-" else "_" for c in told.name.lower())
    other = f"has_{plain}" if told.type == "classification" else f"{plain}_value"
    name, number = plain if plain not in taken else other, 2
    while name in taken:
        name, number = f"{other}_{number}", number + 1
    return name


def refuse_unknown(
    names: Sequence[str],
    contents: Mapping[FoundSource, Content],
    values: Sequence[tuple[FoundSource, ValueTask]],
) -> None:
    """Refuses names of sources or columns that there are not.

    Raises:
        DataError: Names those that there are.
    """
    known = [source.name for source in contents] + [told.name.upper() for _, told in values]
    for name in names:
        if name.upper() not in known:
            remedy = did_you_mean(name.upper(), known, f"there are {', '.join(known)}")
            raise DataError(f"--image or --target {name!r} is no source that was found; {remedy}")


def _choose_images(
    roles: Roles, usable: Mapping[FoundSource, Content], wanted: Sequence[str], targets: set[str]
) -> None:
    """Chooses what the network sees: MR or photos before CT before quantities, what labels lie on before others."""
    if wanted:
        roles.images = [source for name in wanted for source in usable if source.name == name]
        if not roles.images:
            raise DataError(f"--image {', '.join(wanted)} cannot be used: {roles.left_out}; choose another source")
        roles.why_images = "as --image says"
        return
    candidates = [
        source
        for source, content in usable.items()
        if content.kind != "labels" and source.role != "labels" and source.name not in targets
    ]
    if not candidates:
        raise DataError(_no_target(roles, usable))
    labels = [source for source, content in usable.items() if content.kind == "labels"]
    described = [source for source in candidates if source.role == "image"]
    if described:
        roles.images, roles.why_images = described, "the description of the data set says so"
        return
    owners = {label: _owner(label, usable) for label in labels}
    matches = {source: _matches(source, labels, owners) for source in candidates}
    ranks = {source: _rank(source, usable[source]) for source in candidates}
    most = max(len(source.images) for source in candidates)
    ordered = sorted(
        candidates,
        key=lambda source: (
            len(source.images) < COVERED * most and not matches[source],
            ranks[source],
            -len(matches[source]),
            -len(source.images),
            min((len(usable[label].labels) for label in matches[source]), default=0),
            -math.prod(next(iter(source.images.values())).header().shape),
            source.name,
        ),
    )
    first = ordered[0]
    roles.images = [first]
    found = counted(len(matches[first]), "label map lies", "label maps lie")
    kind = {"image": "intensities without a unit", "ct": "a CT", "quantity": "a quantity"}[usable[first].kind]
    roles.why_images = f"{kind}, {counted(len(first.images), 'subject')}; {found} on its grid"
    rivals = [
        source
        for source in ordered[1:]
        if ranks[source] == ranks[first]
        and len(matches[source]) == len(matches[first])
        and len(source.images) == len(first.images)
    ]
    _add_channels(roles, ordered, usable)
    rivals = [source for source in rivals if source not in roles.images]
    if rivals:
        names = ", ".join(source.name for source in rivals)
        roles.doubts.append(f"the network could as well see {names} as {first.name}; --image chooses")


def _rank(source: FoundSource, content: Content) -> int:
    """Returns how late a source comes among those that the network could see: what is called a CT is one."""
    return 1 if meaning(source.words) == "ct" else {"image": 0, "ct": 1, "quantity": 2}[content.kind]


def _matches(
    source: FoundSource, labels: Sequence[FoundSource], owners: Mapping[FoundSource, FoundSource | None]
) -> list[FoundSource]:
    """Returns the label maps on the grid of a source, those excepted that belong to another image by their name."""
    own = [label for label in labels if owners[label] in (None, source)]
    return [label for label in own if relation(source.images, label.images) == "same"]


def _add_channels(roles: Roles, ordered: Sequence[FoundSource], usable: Mapping[FoundSource, Content]) -> None:
    """Lets the network see further contrasts of the same kind on the same grid, where nearly all subjects have them."""
    first = roles.images[0]
    if _rank(first, usable[first]) or first.is_photo:
        return
    for source in ordered[1:]:
        if usable[source].kind != "image" or source.is_photo or _rank(source, usable[source]):
            continue
        lies = relation(first.images, source.images)
        shared = len(source.images.keys() & first.images.keys()) / len(first.images)
        if lies == "same" and shared >= COVERED:
            roles.images.append(source)
        else:
            roles.left_out[source.name] = _why_no_channel(first, lies, shared)
    if len(roles.images) > 1:
        names = ", ".join(source.name for source in roles.images)
        roles.why_images += f"; {names} lie on one grid, and the network sees all of them"


def _why_no_channel(first: FoundSource, lies: str, shared: float) -> str:
    if lies == "shared":
        return f"none of its subjects has {first.name}"
    if lies != "same":
        return f"lies on another grid than {first.name}; register it first, then name both in --image"
    return f"only {shared:.0%} of the subjects of {first.name} have it, and the network would see these alone"


def _choose_maps(roles: Roles, usable: Mapping[FoundSource, Content], targets: set[str]) -> None:
    """Chooses what is learned for every voxel."""
    first = roles.images[0]
    rest = [source for source in usable if source not in roles.images and source.name not in roles.left_out]
    lies = {source: relation(first.images, source.images) for source in rest}
    kinds = {source: "labels" if usable[source].kind == "labels" else usable[source].kind for source in rest}
    on_grid = {kinds[source] for source in rest if lies[source] == "same"}
    owners = {source: _owner(source, usable) for source in rest if kinds[source] == "labels"}
    for source in rest:
        content, kind = usable[source], kinds[source]
        if targets and source.name not in targets:
            roles.left_out[source.name] = "not among --target"
        elif lies[source] == "shared":
            roles.left_out[source.name] = f"none of its subjects has {first.name}"
        elif lies[source] == "apart":
            roles.left_out[source.name] = f"lies outside {first.name} in space; correct the origin in its headers"
        elif not targets and (owner := owners.get(source)) not in (None, *roles.images):
            assert owner is not None
            roles.left_out[source.name] = f"belongs to {owner.name}, which is not what the network sees"
        elif not targets and kind == "ct" == usable[first].kind:
            roles.left_out[source.name] = f"is a CT, as {first.name} is, and nothing is told from one CT to another"
        elif not targets and lies[source] == "overlapping" and kind in on_grid:
            roles.left_out[source.name] = f"lies on another grid than {first.name}, on which there is another {kind}"
        elif kind == "labels" and _is_outline(source, content, kinds.values()) and not targets:
            roles.mask = source
            roles.doubts.append(
                f"{source.name} is taken for the outline of the body ({content.foreground:.0%} of the voxels): results "
                f"are measured in it, and it is not learned; --target {source.name} learns it"
            )
        else:
            _add_map(roles, source, content, lies[source], bool(targets))
    roles.tasks.sort(key=lambda task: (task.type == "segmentation", task.name))


def _owner(label: FoundSource, usable: Mapping[FoundSource, Content]) -> FoundSource | None:
    """Returns the image that a label map is called after, `t2_seg` after `t2`; None where its name says nothing."""
    images = [source for source, content in usable.items() if content.kind != "labels" and source.words]
    named = [source for source in images if label.words[: len(source.words)] == source.words]
    if not named or not meaning(label.words):
        return None
    return max(named, key=lambda source: len(source.words))


def _is_outline(source: FoundSource, content: Content, kinds: object) -> bool:
    """Says whether a label map is the outline of the body beside a target that is a CT."""
    has_ct = "ct" in list(kinds)  # type: ignore[call-overload]
    return has_ct and is_body(source.words) and len(content.labels) == 2 and content.foreground >= BODY


def _add_map(roles: Roles, source: FoundSource, content: Content, lies: str, asked: bool) -> None:
    first, name = roles.images[0], source.name.lower()
    grid = "on the same grid" if lies == "same" else "on another grid of the same place"
    if content.kind == "labels":
        why = (
            f"{content.why}; {counted(len(content.labels), 'label')}, {content.foreground:.2%} of the voxels are not "
            f"0; {grid} as {first.name}"
        )
        roles.tasks.append(PlannedTask(name, "segmentation", source, why))
        return
    kind = next((SURFACES[word] for word in source.words if word in SURFACES), "regression")
    roles.tasks.append(PlannedTask(name, kind, source, f"{content.why}; {grid} as {first.name}"))
    if kind != "regression":
        return
    if content.kind == "image" and not asked:
        roles.doubts.append(
            f"{source.name} is learned from {first.name}, for nothing says which of them is wanted; --image and "
            "--target choose"
        )
    if content.kind == "quantity" and not asked:
        roles.doubts.append(
            f"{source.name} is called like a map of a quantity and is learned from {first.name}; --image "
            f"{first.name},{source.name} lets the network see it instead"
        )


def _no_target(roles: Roles, contents: Mapping[FoundSource, Content]) -> str:
    shown = "; ".join(
        f"{source.name}: {counted(len(source.images), 'file')}, {content.kind}"
        + (f" ({roles.left_out[source.name]})" if source.name in roles.left_out else "")
        for source, content in contents.items()
    )
    return (
        f"nothing was found that could be learned from something else: {shown}; add label maps, a second kind of "
        "image, or a table (subject_id,age,...), or name what is wanted with --image and --target"
    )
