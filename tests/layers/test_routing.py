"""The connection rules between filter group layers."""

import numpy as np
import pytest

from sfgkeras.layers.routing import check_routing, groups_read, merge_streams


@pytest.mark.parametrize("num_tasks", [1, 2, 3, 5])
def test_mixed_routing_gives_every_task_its_own_and_the_shared_stream(num_tasks):
    streams = [np.full(2, 10.0**group) for group in range(num_tasks + 1)]
    merged = merge_streams(streams, "mixed")
    for task in range(num_tasks):
        np.testing.assert_array_equal(merged[task], streams[task] + streams[-1])
    np.testing.assert_array_equal(merged[-1], streams[-1])


def test_separate_routing_merges_nothing():
    streams = [np.full(2, group) for group in range(3)]
    assert all(a is b for a, b in zip(merge_streams(streams, "separate"), streams, strict=True))


def test_dense_routing_is_one_sum_for_all():
    merged = merge_streams([np.full(2, 10.0**group) for group in range(4)], "dense")
    np.testing.assert_array_equal(merged[0], [1111.0, 1111.0])
    assert all(stream is merged[0] for stream in merged)


def test_readers_of_mixed_routing_never_include_another_task():
    for task in range(4):
        assert groups_read("mixed", 5, task) == (task, 4)
    assert groups_read("mixed", 5, 4) == (4,)


def test_an_unknown_routing_is_refused_with_a_suggestion():
    with pytest.raises(ValueError, match="unknown routing 'mix', did you mean 'mixed'"):
        check_routing("mix")
