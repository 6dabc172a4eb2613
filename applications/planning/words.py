"""What words in the names of files and folders mean: contrasts, quantities, labels, phases."""

import re

_MR = (
    r"t1|t1w|t1c|t1ce|t1gd|t1n|t2|t2w|t2f|t2s|t2star|t2tra|t2cor|t2sag|flair|pd|pdw|dwi|swi|bold|epi|mr|mri|gd|mprage|"
    r"mt0|mt1|dmri|fmri"
)
_QUANTITY = (
    r"adc|fa|md|rd|mtr|t1map|t2map|r1map|r2map|qsm|cbf|cbv|mtt|suv|pet|dose|depth|depths|normals|tsnr|proton|kep|ktrans"
)
_CT = r"ct|cbct|ncct|cta|hu"
_LABELS = (
    r"seg|segs|dseg|segmentation|segmentations|gmseg|label|labels|labelmap|mask|masks|msk|organ|organs|lesion|lesions|"
    r"tissue|tissues|roi|rois|gt|groundtruth|truth|annotation|annotations|contour|contours|aseg|aparc|parcellation|"
    r"trimap|trimaps|tumou?r|tumou?rs|vessel|vessels|structures|labelstr|labelsts"
)
_PHOTOS = r"image|images|img|imgs|photo|photos|picture|pictures|imagestr|imagests|anat|func|frame|frames|scans"
_PLAIN = re.compile(rf"(?:{_MR}|{_QUANTITY}|{_CT}|{_LABELS}|{_PHOTOS})\d?", re.IGNORECASE)
_OF = {
    "ct": re.compile(rf"(?:{_CT})\d?", re.IGNORECASE),
    "quantity": re.compile(rf"(?:{_QUANTITY})\d?", re.IGNORECASE),
    "mr": re.compile(rf"(?:{_MR})\d?", re.IGNORECASE),
    "labels": re.compile(rf"(?:{_LABELS})\d?", re.IGNORECASE),
}
_ENTITY = re.compile(r"(seg|label|desc|contrast|acq|ce|part|echo|mod)-.+", re.IGNORECASE)
_BODY = re.compile(r"mask|body|bodymask|outline", re.IGNORECASE)
CHANNEL = re.compile(r"00\d\d")
"""nnU-Net's number of a channel, the last word of a name."""


def is_kind(word: str) -> bool:
    """Says whether a word is known to tell what an image shows, rather than of whom it is.

    >>> [is_kind(word) for word in ("T1w", "organs", "seg-subreg", "patient", "007")]
    [True, True, True, False, False]
    """
    return any(_PLAIN.fullmatch(part) for part in parts_of(word)) or bool(_ENTITY.fullmatch(word))


def is_known(word: str) -> bool:
    """Says whether a word as a whole tells what an image shows.

    >>> [is_known(word) for word in ("T1w", "label-6")]
    [True, False]
    """
    return bool(_PLAIN.fullmatch(word))


def parts_of(word: str) -> list[str]:
    """Returns the parts of a word between hyphens and points, which may be known where the whole is not."""
    return [part for part in re.split(r"[-. ]+", word) if part]


def meaning(words: tuple[str, ...]) -> str:
    """Returns what the words of a kind say: `labels`, `quantity`, `ct`, `mr`, or an empty string.

    A label map of a CT has both words, and is a label map.

    >>> meaning(("ts", "ct", "seg")), meaning(("adc",)), meaning(("x",))
    ('labels', 'quantity', '')
    """
    parts = [part for word in words for part in (word, *parts_of(word))]
    for name in ("labels", "quantity", "ct", "mr"):
        if any(_OF[name].fullmatch(part) for part in parts):
            return name
    return ""


SURFACES = {"depth": "depth", "depths": "depth", "normals": "normals"}
"""Types of tasks that are called so."""


def is_body(words: tuple[str, ...]) -> bool:
    """Says whether a kind is called like the outline of the whole body, in which results are measured."""
    return len(words) == 1 and bool(_BODY.fullmatch(words[0]))
