"""What stands behind a verb, as values: settings of the INI file, settings of steps, slices, fractions."""

from collections.abc import Iterator, Sequence

from sfgkeras.errors import ConfigError


def parse_overrides(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Turns `--SECTION.KEY VALUE` and `--SECTION.KEY=VALUE` into pairs.

    Raises:
        ConfigError: If an argument is neither, or a value is missing.
    """
    pairs = []
    for name, value in _pairs(arguments, "--SECTION.KEY VALUE"):
        if "." not in name:
            raise ConfigError(f"unknown option '--{name}'{_with_section(name)}")
        pairs.append((name, value))
    return pairs


def _with_section(key: str) -> str:
    """Says how a setting is written whose section was left out."""
    from sfgkeras.config.known import sections_with

    homes = [f"--{section.replace(' ', '.')}.{key}" for section in sections_with(key)]
    return f"; write {' or '.join(homes)}" if homes else "; settings are written --SECTION.KEY VALUE"


def split_inputs(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Parts what stands behind a verb into paths (`--input *.nii.gz` leaves some) and `--SECTION.KEY VALUE`."""
    inputs, settings, rest = [], [], list(arguments)
    while rest:
        argument = rest.pop(0)
        if not argument.startswith("--"):
            inputs.append(argument)
            continue
        settings.append(argument)
        if "=" not in argument and rest:
            settings.append(rest.pop(0))
    return inputs, settings


def parse_settings(arguments: Sequence[str]) -> dict[str, str]:
    """Turns `--NAME VALUE` and `--NAME=VALUE` into a dict.

    Raises:
        ConfigError: If an argument is neither, or a value is missing.
    """
    return dict(_pairs(arguments, "--STEP_SETTING VALUE"))


def _pairs(arguments: Sequence[str], form: str) -> Iterator[tuple[str, str]]:
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        name, equals, value = option.partition("=")
        if not name.startswith("--"):
            raise ConfigError(f"unknown argument {option!r}; settings are written {form}")
        if not equals:
            if not rest:
                raise ConfigError(f"option {option!r} has no value; write {option} VALUE")
            value = rest.pop(0)
            if value.startswith("--"):
                raise ConfigError(
                    f"option {option!r} has no value, for {value!r} is the next option; write {option} VALUE, or "
                    f"{option}={value} if that is the value"
                )
        yield name.removeprefix("--"), value


def parse_slice(text: str) -> tuple[str, int]:
    """Reads `SUBJECT:NUMBER`.

    Raises:
        ConfigError: If it is something else.
    """
    subject, _, number = text.rpartition(":")
    if not subject or not number.isdigit():
        raise ConfigError(f"--slice {text!r} is no slice; write SUBJECT:NUMBER, e.g. phantom_003:12")
    return subject, int(number)


def parse_names(text: str) -> list[str]:
    """Reads names between commas; there may be none."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_fractions(text: str) -> list[float]:
    """Reads numbers between commas.

    Raises:
        ConfigError: If one is no number.
    """
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--fractions {text!r} is not a list of numbers; write e.g. 1,0.25") from None
