"""Words that several checks write."""


def listed(numbers: tuple[object, ...]) -> str:
    """Writes numbers as an INI file has them: `128, 128, 1`."""
    return ", ".join(f"{number:g}" if isinstance(number, float) else str(number) for number in numbers)
