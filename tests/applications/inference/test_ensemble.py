"""Several networks and mirrored images: what each is shown, and that the result is the mean of what they say."""

import numpy as np
import pytest

from sfgkeras.applications.inference.ensemble import Ensemble, Mirrored

SHAPE = (5, 4, 3)


def place(shape):
    """A number for every voxel, different at every place."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(*shape, 1)


class Telling:
    """Tells `factor` times its one channel, and where it lies in the image as it was shown: in two slabs."""

    def __init__(self, factor=1.0):
        self.factor = factor

    def tell(self, image):
        assert image.shape[-1] == 1
        return (self.factor * image + place(image.shape[:-1])).astype(np.float32)

    def slabs(self, image):
        told = self.tell(image)
        for part in (slice(None, 2), slice(2, None)):
            yield "map", (part, slice(None), slice(None)), told[part]

    def located_volumes(self, image):
        return {"map": self.tell(image)}

    def values(self, windows):
        return {"value": np.stack([self.tell(window).mean(axis=tuple(range(window.ndim - 1))) for window in windows])}

    def window_values(self, image):
        told = self.tell(image)
        return {"value": told[0, 0, 0]}


def image_of(channels=1):
    return np.random.default_rng(0).normal(size=(*SHAPE, channels)).astype(np.float32)


def joined(slabs, channels=1):
    volume = np.full((*SHAPE, channels), np.nan, np.float32)
    for _, region, values in slabs:
        volume[region] = values
    return volume


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (0, 1, 2)])
def test_what_a_mirrored_image_says_is_mirrored_back(axes):
    image = image_of()
    expected = np.flip(Telling().tell(np.flip(image, axes)), axes)
    mirrored = Mirrored(Telling(), axes, (3, 3, 3))
    np.testing.assert_array_equal(joined(mirrored.slabs(image)), expected)
    np.testing.assert_array_equal(mirrored.located_volumes(image)["map"], expected)
    np.testing.assert_array_equal(
        mirrored.window_values(image)["value"], Telling().window_values(np.flip(image, axes))["value"]
    )


@pytest.mark.parametrize(
    ("window_size", "axis", "axis_of_windows"), [((3, 4, 2), 0, 1), ((3, 4, 2), 2, 3), ((3, 1, 2), 2, 2)]
)
def test_windows_are_mirrored_along_the_same_axis_as_images(window_size, axis, axis_of_windows):
    shape = [size for size in window_size if size != 1]
    windows = np.random.default_rng(0).normal(size=(2, *shape, 1)).astype(np.float32)

    class First(Telling):
        def values(self, shown):
            return {"value": shown[(slice(None), *(0,) * len(shape))]}

    told = Mirrored(First(), (axis,), window_size).values(windows)["value"]
    np.testing.assert_array_equal(told, First().values(np.flip(windows, axis_of_windows))["value"])


def test_results_are_the_mean_over_every_combination_of_axes():
    image = image_of()
    combined = Ensemble([Telling()], (3, 3, 3), (0, 2), channels=1).of("anybody")
    told = [np.flip(Telling().tell(np.flip(image, axes)), axes) for axes in ((), (0,), (2,), (0, 2))]
    np.testing.assert_allclose(joined(combined.slabs(image)), np.mean(told, axis=0), rtol=1e-6)
    np.testing.assert_allclose(combined.located_volumes(image)["map"], np.mean(told, axis=0), rtol=1e-6)


def test_every_network_sees_its_own_channels_and_subjects_their_own_networks():
    image = image_of(channels=2)
    networks = [Telling(1.0), Telling(-3.0)]
    told = [network.tell(image[..., number : number + 1]) for number, network in enumerate(networks)]
    ensemble = Ensemble(
        networks, (3, 3, 3), (), channels=1, has_parts=True, chosen=lambda subject: {"a": None, "b": [1]}[subject]
    )
    np.testing.assert_allclose(joined(ensemble.of("a").slabs(image)), np.mean(told, axis=0), rtol=1e-6)
    np.testing.assert_array_equal(joined(ensemble.of("b").slabs(image)), told[1])
    shared = Ensemble(networks, (3, 3, 3), (), channels=1).of("a")
    both = [network.tell(image[..., :1]) for network in networks]
    np.testing.assert_allclose(joined(shared.slabs(image[..., :1])), np.mean(both, axis=0), rtol=1e-6)
