"""NiftyNet's files, and those of the paper's authors, as they are: names, places and values that lead to ours.

What a file says is rewritten before it is read, entry by entry; entries keep their lines, so that later messages point
to the right one. Whatever is changed or left out is told.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sfgkeras.config.known import ONE_TASK_SECTIONS, REFUSED_KEYS, SECTIONS
from sfgkeras.config.text import Entry, IniSection, IniText
from sfgkeras.quoting import unquote
from sfgkeras.values import parse_whole, parse_yes_no

_PAPERS = "the network of the paper; NiftyNet's VGG-16 has more layers"
_ONE_UNET = "one U-Net with as many levels as unet_levels says; filters and details differ from NiftyNet's"
_ONE_SIZE = "there is one size, the paper's; width makes it narrower or wider"


@dataclass(frozen=True)
class NetworkAlias:
    """What a network is called here.

    Attributes:
        name: Its name here.
        sharing: The sharing mechanism that the other name implies, or None.
        remark: What differs, for the warning; empty where nothing does.
    """

    name: str
    sharing: str | None = None
    remark: str = ""


# NiftyNet's and the authors' short names, and the modules of their classes, lower case.
NETWORK_ALIASES: Mapping[str, NetworkAlias] = {
    "highres3dnet": NetworkAlias("highresnet"),
    "highres2dnet": NetworkAlias("highresnet"),
    "highresnet3d": NetworkAlias("highresnet"),
    "highres3dnet_iccv": NetworkAlias("highresnet"),
    "highres3dnet_small": NetworkAlias("highresnet", remark=_ONE_SIZE),
    "highres3dnet_large": NetworkAlias("highresnet", remark=_ONE_SIZE),
    "highres_mt_learned": NetworkAlias("highresnet"),
    "highres_mt_learned_2": NetworkAlias("highresnet"),
    "highres_mt_learned_v2": NetworkAlias("highresnet"),
    "highres_learned_mt": NetworkAlias("highresnet"),
    "highres3dnet_learned_mt": NetworkAlias("highresnet"),
    "highres_mt_residual_learned": NetworkAlias("highresnet"),
    "highres_mt_vanilla": NetworkAlias("highresnet", "hard_sharing"),
    "multitask_highres3dnet": NetworkAlias("highresnet", "hard_sharing"),
    "unet_2d": NetworkAlias("unet", remark=_ONE_UNET),
    "unet2d": NetworkAlias("unet", remark=_ONE_UNET),
    "unet3d": NetworkAlias("unet", remark=_ONE_UNET),
    "nonewnet": NetworkAlias("unet", remark=_ONE_UNET),
    "no_new_net": NetworkAlias("unet", remark=_ONE_UNET),
    "vgg11net_a": NetworkAlias("vgg11"),
    "vgg16net": NetworkAlias("vgg11", remark=_PAPERS),
    "vgg16net_gap": NetworkAlias("vgg11", remark=_PAPERS),
    "vggnet": NetworkAlias("vgg11", remark=_PAPERS),
    "vggnet_gap": NetworkAlias("vgg11", remark=_PAPERS),
    "vgg_learned_mt": NetworkAlias("vgg11", remark=_PAPERS),
    "vgg_learned_mt_pilot": NetworkAlias("vgg11", remark=_PAPERS),
    "vgg_mt_learned": NetworkAlias("vgg11", remark=_PAPERS),
    "vgg_mt_baseline_1": NetworkAlias("vgg11", "hard_sharing", _PAPERS),
    "vgg_mt": NetworkAlias("vgg11", "hard_sharing", _PAPERS),
    "vgg_cross_stitch": NetworkAlias("vgg11", "cross_stitch", _PAPERS),
    "vgg_cross_stich": NetworkAlias("vgg11", "cross_stitch", _PAPERS),
    "cross_stitch_net": NetworkAlias("vgg11", "cross_stitch", _PAPERS),
}

# Keys that stood in other sections in some version of NiftyNet, or stand there in its files; None: the task's section.
MOVED_KEYS: Mapping[str, str | None] = {
    "queue_length": "NETWORK",
    "window_sampling": "NETWORK",
    "evaluation_units": "EVALUATION",
    "output_prob": None,
}


@dataclass(frozen=True)
class Effectless:
    """A key of NiftyNet that changes no result here.

    Attributes:
        why: The reason, for the warning.
        yes_no: The only value for which that holds; None for any.
        empty: Words that mean nothing is asked for, besides an empty value.
    """

    why: str
    yes_no: bool | None = None
    empty: frozenset[str] = frozenset()


_SELECTIVE = Effectless("only NiftyNet's window_sampling = selective reads it")
EFFECTLESS_KEYS: Mapping[str, Effectless] = {
    "softmax": Effectless("losses here take the softmax of the network's outputs themselves", yes_no=True),
    "spatial_rank": Effectless("a spatial_window_size with one axis of 1 is 2-D, any other 3-D"),
    "min_sampling_ratio": _SELECTIVE,
    "min_ratio_sampling": _SELECTIVE,
    "compulsory_labels": _SELECTIVE,
    "rand_samples": _SELECTIVE,
    "min_numb_labels": _SELECTIVE,
    "num_min_labels": _SELECTIVE,
    "proba_connect": _SELECTIVE,
    "error_map": Effectless("no is what happens", yes_no=False),
    "rgb_normalisation": Effectless("no is what happens", yes_no=False),
    "to_ohe": Effectless("classes are whole numbers", yes_no=False),
    "force_output_identity_resizing": Effectless("results lie on the subject's own grid, and values have none"),
    "weight_initializer_args": Effectless("it is empty", yes_no=False, empty=frozenset({"{}"})),
    "bias_initializer_args": Effectless("it is empty", yes_no=False, empty=frozenset({"{}"})),
    "categorical": Effectless("masks are drawn from the learned probabilities", yes_no=True),
    "concat_tensors": Effectless("streams are merged by their sum", yes_no=False),
    "do_mixup_augmentation": Effectless("no is what happens", yes_no=False),
    "mixup_alpha": Effectless("there is no mixup augmentation"),
    "mix_match": Effectless("there is no mixup augmentation"),
}


@dataclass(frozen=True)
class Change:
    """What was made of one line of a file.

    Attributes:
        section: The section where it stands.
        entry: The line.
        what: What happened, the second half of a sentence.
        now: `(section, key, value)` that stand for it now.
        is_told: Whether it is worth a warning: not where only a name is spelled in another way.
    """

    section: str
    entry: Entry
    what: str
    now: tuple[tuple[str, str, str], ...] = ()
    is_told: bool = True

    def message(self, file: str) -> str:
        """Returns the warning, with file, line, section, key and value."""
        place = self.entry.option or f"{file}:{self.entry.line}"
        return f"{place}: [{self.section}] {self.entry.key} = {self.entry.value!r} {self.what}"


def adapt(ini: IniText) -> list[Change]:
    """Rewrites NiftyNet's spelling in place.

    Args:
        ini: The file; contradictions are collected in it.

    Returns:
        What was changed, in no particular order.
    """
    changes: list[Change] = []
    for key in ("NETWORK", *(name for name in SECTIONS if name != "NETWORK")):
        if section := ini.sections.get(key):
            changes += _move(ini, section)
            changes += _drop(section)
    changes += _rename_network(ini)
    changes += _cross_stitch(ini)
    changes += _negative_orders(ini)
    return changes


def _home(ini: IniText, key: str) -> str | None:
    home = MOVED_KEYS[key]
    return home or next((name for name in ONE_TASK_SECTIONS if name in ini.sections), None)


def _move(ini: IniText, section: IniSection) -> list[Change]:
    """Moves keys to the section that they belong in; a second one of the same value goes."""
    changes = []
    for key in [key for key in section.entries if key in MOVED_KEYS]:
        home = _home(ini, key)
        if home is None or section.name.upper() == home or key in SECTIONS[section.name.upper()].model_fields:
            continue
        entry = section.entries.pop(key)
        target = ini.sections.setdefault(home, IniSection(home, entry.line))
        there = target.entries.get(key)
        if there is None:
            target.entries[key] = entry
            what = f"is taken, but belongs in [{home}]; move it there"
            changes.append(Change(section.name, entry, what, ((home, key, entry.value),)))
        elif unquote(there.value).lower() == unquote(entry.value).lower():
            changes.append(Change(section.name, entry, f"repeats [{home}] {key}, where it belongs; remove the line"))
        else:
            ini.add_at_line(
                entry.line,
                f"[{section.name}] {key} = {entry.value!r} contradicts [{home}] {key} = {there.value!r}",
                "remove one",
            )
    return changes


def _drop(section: IniSection) -> list[Change]:
    """Takes keys out that change no result, and refused ones that ask for nothing."""
    changes = []
    for key, entry in list(section.entries.items()):
        if key in SECTIONS[section.name.upper()].model_fields:
            continue
        word = unquote(entry.value).lower()
        effectless = EFFECTLESS_KEYS.get(key)
        if effectless is not None and (word in effectless.empty or not word or _holds(effectless, word)):
            del section.entries[key]
            changes.append(Change(section.name, entry, f"has no effect: {effectless.why}"))
        elif key in REFUSED_KEYS and not word:
            del section.entries[key]
            changes.append(Change(section.name, entry, "has no effect: it is empty"))
    return changes


def _holds(effectless: Effectless, word: str) -> bool:
    if effectless.yes_no is None:
        return True
    try:
        return parse_yes_no(word) == effectless.yes_no
    except ValueError:
        return False


def network_alias(name: str) -> NetworkAlias | None:
    """Returns what a network of NiftyNet or of the authors is here, by its short name or its class."""
    word = name.strip().lower()
    if word.startswith("niftynet.network.") and word.count(".") == 3:
        word = word.split(".")[2]
    return NETWORK_ALIASES.get(word)


def _rename_network(ini: IniText) -> list[Change]:
    section = ini.sections.get("NETWORK")
    entry = section.entries.get("name") if section else None
    if section is None or entry is None:
        return []
    name = unquote(entry.value)
    alias = network_alias(name)
    if alias is None:
        if name.lower().startswith("niftynet.network."):
            # The short name is what the table of networks without code here knows.
            section.entries["name"] = replace(entry, value=name.split(".")[2])
        return []
    section.entries["name"] = replace(entry, value=alias.name)
    now = [(section.name, "name", alias.name)]
    if alias.sharing is not None:
        given = section.entries.get("sharing")
        if given is not None and unquote(given.value).lower() != alias.sharing:
            ini.add("NETWORK", "sharing", f"contradicts name = {name}, which is {alias.sharing}", "remove it")
        section.entries["sharing"] = given or replace(entry, key="sharing", value=alias.sharing)
        now.append((section.name, "sharing", alias.sharing))
    is_shared = f" with sharing = {alias.sharing}" if alias.sharing else ""
    remark = f": {alias.remark}" if alias.remark else ""
    what = f"is {alias.name}{is_shared} here{remark}"
    return [Change(section.name, entry, what, tuple(now), is_told=bool(alias.remark))]


def _cross_stitch(ini: IniText) -> list[Change]:
    """Reads the authors' switch of their cross-stitch network, which they spell without its t."""
    section, network = ini.sections.get("MULTITASK"), ini.sections.get("NETWORK")
    keys = [key for key in ("enable_cross_stich", "enable_cross_stitch") if section and key in section.entries]
    if section is None or network is None or not keys:
        return []
    entry = section.entries.pop(keys[0])
    try:
        wanted = parse_yes_no(entry.value)
    except ValueError as error:
        section.entries[keys[0]] = entry
        ini.add("MULTITASK", keys[0], str(error))
        return []
    given = network.entries.get("sharing")
    sharing = unquote(given.value).lower() if given else ""
    if wanted and sharing not in ("", "cross_stitch"):
        ini.add_at_line(
            entry.line,
            f"[MULTITASK] {entry.key} = {entry.value!r} contradicts [NETWORK] sharing = {sharing}",
            "remove one",
        )
        return []
    if not wanted and sharing != "cross_stitch":
        return [Change(section.name, entry, "has no effect: the network has no cross-stitch units", ())]
    now = "cross_stitch" if wanted else "single_task"
    network.entries["sharing"] = replace(entry, key="sharing", value=now)
    why = "" if wanted else ", networks of their own: units that are switched off join nothing"
    return [Change(section.name, entry, f"is [NETWORK] sharing = {now} here{why}", ((network.name, "sharing", now),))]


def _negative_orders(ini: IniText) -> list[Change]:
    """Reads NiftyNet's interp_order = -1, which leaves an image as it is, as the order that invents no value."""
    changes = []
    for key, section in ini.sections.items():
        entry = section.entries.get("interp_order") if key not in SECTIONS else None
        if entry is None:
            continue
        try:
            order = parse_whole(entry.value)
        except ValueError:
            continue
        if order < 0:
            section.entries["interp_order"] = replace(entry, value="0")
            what = "is 0 here: the nearest voxel where an image has to be resampled, and else the image as it is"
            changes.append(Change(section.name, entry, what, ((section.name, "interp_order", "0"),)))
    return changes
