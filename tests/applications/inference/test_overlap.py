"""Reading ahead and writing behind: in order, one at a time, and no mistake is lost."""

import threading
import time

import pytest

from sfgkeras.applications.inference.read_ahead import WriteBehind, reading_ahead


def test_the_next_item_is_read_while_the_present_one_is_in_use_and_none_after_it():
    begun = [threading.Event() for _ in range(4)]

    def read(item):
        begun[item].set()
        return 10 * item

    with reading_ahead(range(4), read) as pairs:
        for number, (item, result) in enumerate(pairs):
            assert (item, result) == (number, 10 * number)
            if item < 3:
                assert begun[item + 1].wait(10)
            time.sleep(0.01)
            assert not any(event.is_set() for event in begun[item + 2 :])


def test_large_items_are_never_there_with_another():
    """Items 2 and 3 are large: they and their neighbours wait for each other."""
    in_use, together = set(), set()

    def read(item):
        together.update((item, other) for other in in_use)
        return item

    with reading_ahead(range(6), read, alone=lambda item: item in (2, 3)) as pairs:
        for item, _ in pairs:
            in_use.add(item)
            time.sleep(0.02)
            in_use.remove(item)
    assert together == {(1, 0), (5, 4)}


def test_a_mistake_in_reading_comes_in_its_turn_as_itself():
    mistake, used = ValueError("bad.nii.gz"), []

    def read(item):
        if item == 2:
            raise mistake
        return item

    with pytest.raises(ValueError, match=r"bad\.nii\.gz") as caught, reading_ahead(range(5), read) as pairs:
        used.extend(item for item, _ in pairs)
    assert caught.value is mistake
    assert used == [0, 1]


def write_all(*writes, then=None):
    with WriteBehind() as writer:
        for write in writes:
            writer.submit(write)
        if then is not None:
            raise then


def test_items_are_written_in_order_one_at_a_time_and_all_before_the_block_is_left():
    busy, written = threading.Lock(), []

    def write(item):
        assert busy.acquire(blocking=False)
        time.sleep(0.01)
        written.append(item)
        busy.release()

    with WriteBehind() as writer:
        for item in range(5):
            writer.submit(lambda item=item: write(item))
            assert len(written) >= item - 1
    assert written == [0, 1, 2, 3, 4]


def test_a_mistake_in_writing_comes_as_itself_before_anything_else_is_written():
    mistake, written = OSError("the disk is full"), []

    def fail():
        raise mistake

    for writes in [(fail, lambda: written.append(1)), (fail,)]:
        with pytest.raises(OSError, match="disk is full") as caught:
            write_all(*writes)
        assert caught.value is mistake
    assert written == []


def test_what_is_being_written_is_finished_when_something_else_fails():
    written = []

    def write():
        time.sleep(0.05)
        written.append(1)

    with pytest.raises(ZeroDivisionError):
        write_all(write, then=ZeroDivisionError())
    assert written == [1]


def test_of_two_mistakes_the_other_is_told_besides():
    def fail():
        raise OSError("the disk is full")

    with pytest.raises(ZeroDivisionError) as caught:
        write_all(fail, then=ZeroDivisionError())
    assert "the disk is full" in caught.value.__notes__[0]
