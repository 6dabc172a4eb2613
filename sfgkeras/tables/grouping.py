"""What may be chosen about filter groups, with what each choice means."""

from collections.abc import Mapping

ROUTINGS: Mapping[str, str] = {
    "mixed": "a task reads its own stream and the shared one, the shared group its own",
    "separate": "every group reads its own stream until the heads",
    "dense": "every group reads all streams",
}
ASSIGNMENTS: Mapping[str, str] = {
    "soft": "relaxed one-hot masks (the paper)",
    "hard": "one-hot masks with a straight-through gradient",
}
