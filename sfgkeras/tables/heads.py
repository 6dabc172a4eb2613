"""What may be chosen about the head of a task, with what each choice means."""

from collections.abc import Mapping

HEAD_KINDS: Mapping[str, str] = {
    "map": "one output per voxel",
    "vector": "one output per image or window",
}
HEAD_INPUTS: Mapping[str, str] = {
    "image": "the whole image: `window_sampling = resize`, or images as large as the window",
    "window": "a window, as the target holds for each of them; results are the mean over all windows of an image",
}
HEAD_POOLINGS: Mapping[str, str] = {
    "average": "the mean over all voxels; images of any size",
    "flatten": "the features of all voxels, one after the other; images of one size",
}
