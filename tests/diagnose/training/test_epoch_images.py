"""Images made an epoch ahead: the right ones, ahead, no more than asked for, and given up at once."""

import threading
from pathlib import Path

import numpy as np
import pytest

from diagnose.training.distributed import ProcessGroup
from diagnose.training.epoch_images import EpochImages
from diagnose.training.loop import Interrupted
from mrisim.errors import DataError

ALONE = ProcessGroup()


def written(file: Path, epoch: int) -> None:
    np.save(file, np.full((2, 3), float(epoch)))


def test_each_epoch_has_its_own_images_and_the_next_are_made_meanwhile(tmp_path: Path):
    made: list[int] = []
    ready = {epoch: threading.Event() for epoch in range(3)}

    def make(file: Path, epoch: int, progress) -> None:
        written(file, epoch)
        made.append(epoch)
        ready[epoch].set()

    images = EpochImages(make, 3)
    for epoch in range(3):
        assert np.array_equal(images.of(epoch, tmp_path, ALONE), np.full((2, 3), float(epoch)))
        if epoch < 2:
            assert ready[epoch + 1].wait(10), "nobody asked, and it is made"
    images.close(tmp_path)
    assert made == [0, 1, 2], "once each, and none beyond the last epoch"
    assert not list(tmp_path.iterdir())


def test_a_resumed_run_begins_anywhere(tmp_path: Path):
    images = EpochImages(lambda file, epoch, progress: written(file, epoch), 9)
    assert images.of(4, tmp_path, ALONE)[0, 0] == 4 and images.of(7, tmp_path, ALONE)[0, 0] == 7
    images.close(tmp_path)


def test_closing_ends_what_is_under_way_at_the_next_volume(tmp_path: Path):
    begun, told = threading.Event(), []

    def make(file: Path, epoch: int, progress) -> None:
        written(file, epoch)
        for volume in range(10_000 if epoch else 1):
            begun.set() if epoch else None
            told.append((epoch, volume))
            threading.Event().wait(0.01 if epoch else 0)
            progress("images", volume + 1, 10_000)

    images = EpochImages(make, 5)
    images.of(0, tmp_path, ALONE)
    assert begun.wait(10)
    images.close(tmp_path)
    n_told = len(told)
    assert n_told < 1000 and not list(tmp_path.iterdir())
    threading.Event().wait(0.05)
    assert len(told) == n_told, "nothing goes on behind the caller's back"


def test_the_caller_hears_of_images_that_are_waited_for_and_may_end_the_wait(tmp_path: Path):
    heard: list[tuple[int, int]] = []
    ahead = threading.Event()

    def make(file: Path, epoch: int, progress) -> None:
        written(file, epoch)
        progress("images", 1, 2)
        if epoch == 1:
            ahead.set()

    def hear(_what: str, done: int, total: int) -> None:
        heard.append((done, total))
        if len(heard) == 2:
            raise Interrupted("stopped")

    images = EpochImages(make, 5, hear)
    images.of(0, tmp_path, ALONE)
    assert ahead.wait(10)
    assert heard == [(1, 2)], "those of the second epoch are made ahead, and nobody waits"
    with pytest.raises(Interrupted):
        images.of(3, tmp_path, ALONE)
    images.close(tmp_path)
    assert len(heard) == 2


def test_what_goes_wrong_ahead_is_raised_where_it_is_needed(tmp_path: Path):
    def make(file: Path, epoch: int, progress) -> None:
        if epoch == 1:
            raise DataError("no room on the disk")
        written(file, epoch)

    images = EpochImages(make, 3)
    images.of(0, tmp_path, ALONE)
    with pytest.raises(DataError, match="no room"):
        images.of(1, tmp_path, ALONE)
    images.close(tmp_path)
