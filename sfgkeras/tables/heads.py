"""What may be chosen about the head of a task, with what each choice means."""

from collections.abc import Mapping

HEAD_KINDS: Mapping[str, str] = {
    "map": "one output per voxel",
    "vector": "one output per image or window",
    "motion": "a displacement per voxel for every frame after the first",
}
HEAD_INPUTS: Mapping[str, str] = {
    "image": "the whole image: `window_sampling = resize`, or images as large as the window",
    "window": "a window, as the target holds for each of them; results are the mean over all windows of an image",
}
OUTPUT_ACTIVATIONS: Mapping[str, str] = {
    "linear": "any number",
    "relu": "nothing below 0",
    "sigmoid": "between 0 and 1",
    "tanh": "between -1 and 1",
    "range": "nothing outside of the smallest and largest target of the training; outside the gradient is as inside",
}
HEAD_POOLINGS: Mapping[str, str] = {
    "average": "the mean over all voxels; images of any size",
    "flatten": "the features of all voxels, one after the other; images of one size",
}
