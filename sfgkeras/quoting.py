"""Quotes, brackets and commas in INI values."""

import re

from sfgkeras.errors import Problem

_INLINE_COMMENT = re.compile(r"\s[#;]")


def end_of_quotes(text: str, start: int) -> int | None:
    """Returns where the quote at `start` is closed, or None; a doubled quote stands for itself."""
    quote, position = text[start], start + 1
    while position < len(text):
        if text[position] == quote:
            if text[position + 1 : position + 2] != quote:
                return position
            position += 1
        position += 1
    return None


def _is_quoted(text: str) -> bool:
    return bool(text) and text[0] in "\"'" and end_of_quotes(text, 0) == len(text) - 1


def unquote(text: str) -> str:
    """Removes quotes that enclose the whole text."""
    text = text.strip()
    return text[1:-1].replace(text[0] * 2, text[0]) if _is_quoted(text) else text


def _without_brackets(text: str) -> str:
    """Removes a pair of brackets that encloses the whole text."""
    text = text.strip()
    if text[:1] not in ("(", "["):
        return text
    opening, closing = text[0], {"(": ")", "[": "]"}[text[0]]
    depth = 0
    for position, character in enumerate(text):
        depth += (character == opening) - (character == closing)
        if depth == 0:
            return text[1:-1] if position == len(text) - 1 else text
    raise Problem("opens a bracket and does not close it", f"end it with {closing}")


def split_list(text: str) -> list[str]:
    """Splits `a, b`, `(a, b)` or `"a", "b,c"` at its commas, outside quotes; a comma at the end is allowed.

    Raises:
        Problem: If an element between two commas is empty or a bracket is not closed.
    """
    text = _without_brackets(text)
    parts, start, position = [], 0, 0
    while position < len(text):
        if text[position] in "\"'" and not text[start:position].strip():
            position = end_of_quotes(text, position) or position
        elif text[position] == ",":
            parts.append(text[start:position])
            start = position + 1
        position += 1
    parts.append(text[start:])
    if len(parts) > 1 and not parts[-1].strip():
        parts.pop()
    if len(parts) > 1 and not all(part.strip() for part in parts):
        raise Problem("has nothing between two commas", "remove one of them")
    return [unquote(part) for part in parts if part.strip()]


def quoted(text: str, separators: str = "") -> str:
    """Encloses text in quotes where reading would change it, and doubles percent signs."""
    text = text.replace("%", "%%")
    needed = (
        text != text.strip()
        or not text
        or text[0] in "\"'#;"
        or bool(_INLINE_COMMENT.search(text))
        or (separators and (set(text) & set(separators + "()[]\"'")))
    )
    return '"' + text.replace('"', '""') + '"' if needed else text
