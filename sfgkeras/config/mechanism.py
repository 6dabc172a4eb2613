"""`[SHARING]`: the settings of the chosen sharing mechanism, which the keys of the paper's authors say too.

The authors' keys stand in `[MULTITASK]` and mean what they always meant. What both say must be the same; what only
`[SHARING]` says is put into `[MULTITASK]` too, so that whoever reads these keys sees what is in effect.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sfgkeras.config.sections import Network
from sfgkeras.config.task_sections import Multitask
from sfgkeras.config.text import Entry, IniText, section_id
from sfgkeras.errors import ConfigError, did_you_mean
from sfgkeras.settings import build_settings, described
from sfgkeras.tables.sharing import SHARING
from sfgkeras.values import format_value

if TYPE_CHECKING:
    from sfgkeras.sharing.base import Sharing

SECTION = "SHARING"


@dataclass(frozen=True)
class OtherSpelling:
    """How another section says a setting of a mechanism.

    Attributes:
        section: The section.
        keys: Its keys.
        read: Their values to that of the setting.
        write: The setting's value to theirs; None where the other section cannot say it.
    """

    section: str
    keys: tuple[str, ...]
    read: Callable[[Any], Any]
    write: Callable[[Any], Mapping[str, Any] | None]


def _renamed(key: str, section: str = "MULTITASK") -> OtherSpelling:
    return OtherSpelling(section, (key,), lambda values: getattr(values, key), lambda value: {key: value})


def _read_probabilities(multitask: Multitask) -> Any:
    return "dirichlet" if multitask.random_p_init else multitask.init_categorical


def _write_probabilities(value: Any) -> Mapping[str, Any] | None:
    if isinstance(value, str) and value != "dirichlet":
        return None
    is_drawn = value == "dirichlet"
    return {"random_p_init": is_drawn, "init_categorical": None if is_drawn else value}


def _read_temperature(multitask: Multitask) -> tuple[float, float, float]:
    rate = multitask.gs_anneal_r if multitask.use_tau_annealing else 0.0
    return multitask.tau, rate, min(multitask.min_temp, multitask.tau)


def _write_temperature(value: Sequence[float]) -> Mapping[str, Any]:
    initial, rate, lowest = value
    falls = {"use_tau_annealing": True, "gs_anneal_r": rate} if rate else {"use_tau_annealing": False}
    return {"tau": initial, "min_temp": lowest, **falls}


_ASSIGNMENTS = {True: "hard", False: "soft"}
_GROUPS = {
    "routing": _renamed("group_connection"),
    "mask_residual": _renamed("mask_residual", "NETWORK"),
    "group_multiple": _renamed("group_multiple"),
}
_MASKS = {
    **_GROUPS,
    "initial_probabilities": OtherSpelling(
        "MULTITASK", ("init_categorical", "random_p_init"), _read_probabilities, _write_probabilities
    ),
    "assignment": OtherSpelling(
        "MULTITASK",
        ("use_hardcat",),
        lambda multitask: _ASSIGNMENTS[multitask.use_hardcat],
        lambda value: {"use_hardcat": value == "hard"},
    ),
    "per_sample": _renamed("batch_sampling"),
    "temperature": OtherSpelling(
        "MULTITASK",
        ("tau", "use_tau_annealing", "gs_anneal_r", "min_temp"),
        _read_temperature,
        _write_temperature,
    ),
}
OTHER_SPELLINGS: Mapping[str, Mapping[str, OtherSpelling]] = {
    "sfg": {**_MASKS, "entropy_decay": _renamed("entropy_decay"), "cost_weight": _renamed("cost_weight")},
    "constant_p": _MASKS,
    "constant_mask": {**_GROUPS, "fractions": _renamed("init_categorical")},
    "cross_stitch": {
        "weight": _renamed("cross_stitch_init"),
        "per_channel": _renamed("cross_stitch_per_channel"),
        "decay": _renamed("cross_stitch_decay"),
    },
}
"""Settings that other sections say too, by mechanism."""


def sharing_keys() -> dict[str, tuple[str, ...]]:
    """Returns every key of `[SHARING]` with the mechanisms that have it."""
    keys: dict[str, tuple[str, ...]] = {}
    for name, entry in SHARING.items():
        for key in described(entry.settings_class()):
            keys[key] = (*keys.get(key, ()), name)
    return keys


def settle_mechanism(ini: IniText, network: Network, multitask: Multitask) -> "tuple[Sharing, Network, Multitask]":
    """Builds the sharing mechanism that `[NETWORK] sharing` chooses from `[SHARING]` and the authors' keys.

    Args:
        ini: The file; mistakes and warnings are collected in it.
        network: `[NETWORK]`, with the mechanism settled.
        multitask: `[MULTITASK]`.

    Returns:
        The mechanism, and the two sections with what only `[SHARING]` says.
    """
    mechanism = SHARING[network.sharing].load()
    holders: dict[str, Any] = {"NETWORK": network, "MULTITASK": multitask}
    entries = _of_mechanism(ini, network.sharing)
    for problem in build_settings(mechanism, {key: entry.value for key, entry in entries.items()})[1]:
        ini.add(SECTION, problem.key or None, problem.what, problem.remedy)
    spellings = OTHER_SPELLINGS.get(network.sharing, {})
    values = {name: other.read(holders[other.section]) for name, other in spellings.items()}
    for key, entry in entries.items():
        if ini.is_wrong(SECTION, key):
            continue
        setting, other = described(mechanism)[key], spellings.get(key)
        value = setting.parse(entry.value)
        if other is not None and value != values[key]:
            holder = holders[other.section]
            is_said = values[key] != setting.default or other.write(value) is not None
            said = [name for name in other.keys if is_said and ini.has(other.section, name)]
            if said and entry.overrides == _override(ini, other.section, said):
                theirs = " and ".join(f"{name} = {format_value(getattr(holder, name))}" for name in said)
                ini.add(SECTION, key, f"contradicts [{other.section}] {theirs}", "remove one of them")
                continue
            if said and not entry.overrides:
                continue
            holders[other.section] = holder.model_copy(update=dict(other.write(value) or {}))
        values[key] = value
    try:
        built = mechanism.from_values(values)
    except ConfigError as error:
        ini.add(SECTION, None, f"cannot be used: {error}")
        built = mechanism()
    return built, holders["NETWORK"], holders["MULTITASK"]


def _override(ini: IniText, section: str, keys: Sequence[str]) -> bool:
    """Says whether the command line, or a row of a study, gives one of some keys."""
    return any(entry is not None and entry.overrides for entry in (ini.entry(section, key) for key in keys))


def _of_mechanism(ini: IniText, chosen: str) -> dict[str, Entry]:
    """Returns the entries that are settings of the chosen mechanism; all others are collected as mistakes.

    Those of the file are only told where not the file chose the mechanism but a command line, or a row of a study.
    """
    section = ini.sections.get(section_id(SECTION))
    own, homes = described(SHARING[chosen].settings_class()), sharing_keys()
    found, without_effect = {}, []
    for key, entry in section.entries.items() if section is not None else ():
        owners = homes.get(key, ())
        if key in own:
            found[key] = entry
        elif not owners:
            known = f"{chosen} has {', '.join(own)}" if own else f"{chosen} has no settings"
            ini.add_unknown_key(SECTION, key, did_you_mean(key, own, known))
        elif not entry.overrides and _override(ini, "NETWORK", ["sharing"]):
            setting = described(SHARING[owners[0]].settings_class())[key]
            without_effect += [] if setting.is_default(entry.value) else [key]
        else:
            where = f"is a setting of {' and '.join(owners)}, and [NETWORK] sharing = {chosen}"
            ini.add(SECTION, key, where, f"write sharing = {owners[0]}, or remove the line")
    if without_effect:
        verb = "has" if len(without_effect) == 1 else "have"
        ini.warnings.append(f"[{SECTION}] {', '.join(without_effect)} {verb} no effect with sharing = {chosen}")
    return found
