"""What voxels are: labels by their insides, a CT by air and tissue, shares and percentiles against plain counts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from sfgkeras.applications.planning.contents import READ, Content, count_labels, measure, measure_source
from sfgkeras.errors import DataError
from sfgkeras.reporter import SilentReporter

from .conftest import Drawn, ball, ct, drawn, intensities, labels

SHAPE = (20, 18, 12)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    arrays(np.int32, array_shapes(max_dims=3, max_side=5), elements=st.integers(-3, 9)), st.sampled_from([1, 90_000])
)
def test_labels_are_counted_as_they_are_however_far_apart(array, step):
    values, numbers = np.unique(array * step, return_counts=True)
    assert count_labels(array * step) == dict(zip(values.tolist(), numbers.tolist(), strict=True))


def test_shares_of_labels_are_those_of_all_voxels_of_all_images():
    rng = np.random.default_rng(0)
    coarse = [rng.integers(0, 3, (2, 2, 2)).repeat(4, 0).repeat(4, 1).repeat(4, 2) for _ in range(READ)]
    # More images than are looked at to tell that they are labels; label 7 is in the one that is passed over.
    coarse.insert(READ // 2, np.full((16, 16, 16), 7))
    content = measure_source(drawn("SEG", {f"s{number:02d}": array for number, array in enumerate(coarse)}))
    everything = np.concatenate([array.ravel() for array in coarse])
    assert content.kind == "labels"
    assert content.num_read == READ + 1
    assert content.labels == (0, 1, 2, 7)
    assert content.shares == pytest.approx({label: np.mean(everything == label) for label in (0, 1, 2, 7)})
    assert content.foreground == pytest.approx(np.mean(everything != 0))


def test_of_many_images_the_first_the_last_and_some_between_are_read():
    images = {f"s{number:03d}": [[[number, number + 0.5]]] for number in range(101)}
    content = measure_source(drawn("T1", images))
    assert (content.num_read, content.low, content.high) == (READ, 0, 100.5)
    assert {int(subject[1:]) for subject in content.tops} == {round(number * 100 / 19) for number in range(READ)}


@pytest.mark.parametrize(
    ("found", "consecutive"),
    [
        ((0, 1, 2), True),
        ((0, 1, 3), True),
        ((0, 2), True),
        ((0, 1, 4), False),
        ((1, 2), False),
        ((0, 255), False),
        ((), False),
    ],
)
def test_labels_count_from_0_with_one_gap_at_most(found, consecutive):
    assert Content(labels=found).is_consecutive == consecutive


def noise(seed, low=0, high=200):
    return np.random.default_rng(seed).integers(low, high, SHAPE)


@pytest.mark.parametrize(
    ("name", "array", "kind"),
    [
        ("X", labels(SHAPE, (0, 1, 2)), "labels"),
        ("X", ball(SHAPE, 0.2), "labels"),  # two values only, few equal neighbours
        ("X", noise(1, 0, 2), "labels"),
        ("X", noise(2), "image"),  # whole numbers without insides
        ("SEG", noise(2), "image"),  # and no name makes labels of them
        ("X", np.arange(4320).reshape(SHAPE), "image"),  # more values than labels have
        ("X", labels(SHAPE, (0, 1, 2)).astype(int) - 1, "image"),  # no label is negative
        ("X", labels(SHAPE, (0, 1, 2)) * 0.5, "image"),
        ("ADC", noise(3), "quantity"),
        ("X", ct(SHAPE), "ct"),
        ("CT", ct(SHAPE), "ct"),
        ("T1", ct(SHAPE), "image"),  # a name that says MR is believed
        ("CT", ct(SHAPE) + 1024, "image"),
    ],
)
def test_kinds_by_voxels_and_names(name, array, kind):
    assert measure_source(drawn(name, [array])).kind == kind


def test_a_name_of_labels_halves_the_share_of_equal_neighbours_that_is_needed():
    # Along the first axis every third pair of voxels is equal, and none along the others: nothing is background.
    columns = 1 + (np.arange(4)[:, None, None] // 2 + 2 * np.arange(4)[:, None] + 8 * np.arange(2)) % 7
    array = np.pad(columns.repeat(2, 0)[:6], 1)
    found = {name: measure_source(drawn(name, [array])) for name in ("X", "SEG")}
    inside = array[1:-1, 1:-1, 1:-1]
    same = sum(int((np.diff(inside, axis=axis) == 0).sum()) for axis in range(3))
    pairs = sum(int(np.diff(inside, axis=axis).size) for axis in range(3))
    assert 0.25 <= same / pairs < 0.5
    assert (found["X"].kind, found["SEG"].kind) == ("image", "labels")
    assert f"; {same / pairs:.0%} of neighbours off the background are equal" in found["SEG"].why


@pytest.mark.parametrize("photo", [False, True])
def test_a_ct_has_its_shares_and_percentiles_of_what_is_denser_than_lung(photo):
    scans = [ct(SHAPE, seed) for seed in range(2)]
    scans[1][:2] = 1500
    content = measure_source(drawn("SCAN", scans, photo=photo))
    if photo:  # a photo is no CT, whatever its numbers
        assert content.kind == "image"
        return
    dense = np.concatenate([scan[scan > -500] for scan in scans]).astype(float)
    low, high = np.percentile(dense, [0.5, 99.5])
    assert content.kind == "ct"
    assert content.clip == (np.floor(low / 10) * 10, np.ceil(high / 10) * 10)
    air = np.mean([(np.abs(scan + 1000.0) <= 150).mean() for scan in scans])
    soft = np.mean([(np.abs(scan) <= 200).mean() for scan in scans])
    assert content.why.startswith(
        f"{air:.0%} of the voxels lie within 150 of -1000 HU (air), {soft:.0%} within 200 of 0"
    )


def test_a_ct_with_much_below_air_is_none_but_padding_far_below_does_no_harm():
    assert measure_source(drawn("SCAN", [np.where(noise(0) < 20, -1500, ct(SHAPE).astype(float))])).kind == "image"
    assert measure_source(drawn("SCAN", [np.where(noise(0) < 20, -2000, ct(SHAPE).astype(float))])).kind == "ct"
    assert measure_source(drawn("SCAN", [np.where(noise(0) < 20, -40000, ct(SHAPE).astype(float))])).kind == "image"


def test_bright_ends_and_the_share_of_the_lowest_value_are_told_of_intensities():
    arrays = {"a": intensities(SHAPE, 0), "b": intensities(SHAPE, 1) * 3}
    for array in arrays.values():
        array[:5] = 0
    content = measure_source(drawn("T1", arrays))
    assert content.tops == pytest.approx({subject: np.percentile(array, 99) for subject, array in arrays.items()})
    assert content.filled == pytest.approx(np.mean([(array == 0).mean() for array in arrays.values()]))
    assert content.why == f"from 0 to {max(array.max() for array in arrays.values()):g}"


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.6])
def test_a_smooth_field_is_told_by_the_factor_that_it_varies_by(strength):
    shape = (24, 24, 24)
    x, y, _ = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    field = np.exp(strength * (x + 0.5 * x * y))
    inside = ball(shape, 0.8)
    # Background far below: the foreground is the ball, whatever the field.
    image = np.where(inside, 1000 * field, 1.0 + np.random.default_rng(0).random(shape))
    low, high = np.percentile(np.log(field[inside]), [2.5, 97.5])
    assert measure_source(drawn("T1", [image])).bias == pytest.approx(np.exp(high - low), rel=0.01)


@pytest.mark.filterwarnings("error")
def test_no_field_is_told_of_intensities_below_zero_which_none_multiplies():
    image = np.where(ball(SHAPE, 0.8), -10.0, -30.0) + np.random.default_rng(0).normal(size=SHAPE)
    assert measure_source(drawn("T1", [image])).bias == 1
    assert measure_source(drawn("T1", [image + 10])).bias == 1  # half of what is bright lies below 0


def test_what_cannot_be_read_is_kept_with_its_reason_and_the_others_are_measured():
    arrays = {"a": intensities(SHAPE), "b": intensities(SHAPE, 1).astype(float), "c": intensities(SHAPE, 2) / 2.0}
    arrays["b"][0, 0, :3] = np.nan, np.inf, -np.inf
    content = measure_source(drawn("T1", arrays))
    assert content.num_read == 2
    assert content.broken == {"b": f"b_t1.nii.gz: 3 of its {arrays['b'].size} voxels are NaN or infinite"}
    alone = measure_source(drawn("T1", {"b": arrays["b"]}))
    assert (alone.kind, alone.why) == ("broken", content.broken["b"])


def test_a_label_map_with_halves_among_whole_ones_is_broken_and_the_others_count():
    arrays = {f"s{number:02d}": labels(SHAPE) for number in range(READ + 1)}
    arrays["s10"] = arrays["s10"] * 0.5  # the one that is not among those that are looked at first
    content = measure_source(drawn("SEG", arrays))
    assert (content.kind, content.labels, content.num_read) == ("labels", (0, 1), READ)
    assert content.broken == {"s10": "s10_seg.nii.gz: is no label map"}


@pytest.mark.parametrize("background", [0, 255])
def test_the_background_is_the_lowest_or_the_highest_value_whichever_fills_more(background):
    # Off the background no neighbours are equal; the background itself, taken for a label, would outvote them.
    checks = np.indices((6, 6, 6)).sum(0) % 2 + 1
    array = np.pad(checks, 4, constant_values=background)
    array[0, 0, 0] = 255 - background
    content = measure_source(drawn("X", [array]))
    assert content.kind == "image"
    assert measure_source(drawn("X", [np.where(array == 2, 1, array)])).kind == "labels"


def test_a_constant_source_says_its_value():
    content = measure_source(drawn("T1", [np.full(SHAPE, 2.5)]))
    assert (content.kind, content.why) == ("constant", "every voxel is 2.5")


class _Photo(Drawn):
    """A photo whose pixels are colours, and none of them a label."""

    def _read_labels(self):
        raise DataError(f"{self.title}: has colours")


def test_colours_are_no_labels_and_a_photo_that_is_called_a_mask_must_have_them():
    colours = np.random.default_rng(0).integers(0, 256, (9, 8, 1, 3))
    source = drawn("PHOTO", [], words=())
    source.images["p"] = _Photo("p.png", colours, as_photo=True)
    content = measure_source(source)
    assert (content.kind, content.bias) == ("image", 1.0)
    source.words = ("mask",)
    assert measure_source(source).broken == {"p": "p.png: has colours"}


def test_sources_are_measured_one_by_one():
    sources = [drawn("T1", [intensities(SHAPE)]), drawn("SEG", [labels(SHAPE)])]
    found = measure(sources, SilentReporter())
    assert [found[source].kind for source in sources] == ["image", "labels"]
