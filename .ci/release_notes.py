"""Prints the section of CHANGELOG.md about a version, the text of its release; `Unreleased` for what is to come.

python .ci/release_notes.py 0.1.0
"""

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).parents[1] / "CHANGELOG.md"


def release_notes(text: str, version: str) -> str:
    """Returns the section of a version, without its heading.

    Raises:
        ValueError: If there is none, or it is empty; says which there are.
    """
    parts = re.split(r"^## ", text, flags=re.M)[1:]
    sections = {re.split(r"[\s,(]", heading.strip("[]"), maxsplit=1)[0]: heading for heading in parts}
    body = sections.get(version, "").partition("\n")[2].strip()
    if not body:
        raise ValueError(f"CHANGELOG.md says nothing about {version!r}; it has {', '.join(sections)}")
    return body


if __name__ == "__main__":
    try:
        sys.stdout.write(release_notes(CHANGELOG.read_text(encoding="utf-8"), sys.argv[1]) + "\n")
    except (IndexError, ValueError) as problem:
        sys.exit(str(problem) if isinstance(problem, ValueError) else __doc__)
