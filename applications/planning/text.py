"""The text of a planned INI file: every line below the comment that gives its reason."""

import textwrap
from collections.abc import Sequence

from sfgkeras.applications.planning.lines import Lines

WIDTH = 118


def render(lines: Lines, title: Sequence[str]) -> str:
    """Returns the text of a file.

    Args:
        lines: Its sections.
        title: Paragraphs of comments before them.
    """
    parts = [_comment(paragraph) for paragraph in title]
    for section, found in lines.sections.items():
        block = [f"[{section}]"]
        block += [_comment(lines.heads[section])] if section in lines.heads else []
        for line in found:
            block += [_comment(line.why)] if line.why else []
            block.append(f"{line.key} = {line.value}".rstrip())
        parts.append("\n".join(block))
    head = "\n".join(parts[: len(title)])
    return "\n\n".join([head, *parts[len(title) :]]) + "\n"


def _comment(text: str) -> str:
    sentence = text[:1].upper() + text[1:]
    sentence = sentence if sentence.endswith((".", ":")) else f"{sentence}."
    return textwrap.fill(sentence, WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False)
