"""When each line is acquired: orders written out by hand, and laws of every order."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from mrisim.echo_order import echo_order
from mrisim.scan import Acquisition, Scan


def scan_of(n_lines, lines=None, *, echo_train_length=4):
    sampled = np.zeros((3, n_lines), bool)
    sampled[:, range(n_lines) if lines is None else lines] = True
    acquisition = Acquisition(
        fov_mm=(200.0, 200.0), repetition_time_ms=1000.0, echo_spacing_ms=7.0, echo_train_length=echo_train_length
    )
    return Scan(np.ones((1, 1, 3, n_lines), np.complex64), acquisition, sampled=sampled)


def acquired_first_to_last(order):
    lines = np.flatnonzero(order.shot_of_line >= 0)
    return lines[np.argsort(order.time_ms[lines], kind="stable")].tolist()


@pytest.mark.parametrize(
    ("n_lines", "ordering", "expected"),
    [
        (5, "sequential", [0, 1, 2, 3, 4]),
        (5, "centric", [2, 3, 1, 4, 0]),
        (6, "centric", [3, 4, 2, 5, 1, 0]),
        (5, "interleaved", [0, 2, 4, 1, 3]),
        (6, "interleaved", [0, 2, 4, 1, 3, 5]),
    ],
)
def test_one_line_a_shot(n_lines, ordering, expected):
    order = echo_order(scan_of(n_lines), ordering)
    assert acquired_first_to_last(order) == expected
    assert order.echo_of_line.tolist() == [0] * n_lines
    np.testing.assert_array_equal(order.time_ms, 1000.0 * order.shot_of_line)


def test_an_echo_train_runs_through_the_bands_of_kspace():
    # 12 lines, trains of 4: three shots; band e holds lines 3e, 3e + 1, 3e + 2
    order = echo_order(scan_of(12), "tse")
    assert order.shot_of_line.tolist() == [0, 1, 2] * 4
    assert order.echo_of_line.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert order.time_ms[7] == 1 * 1000.0 + 2 * 7.0
    assert acquired_first_to_last(order) == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]


def test_bands_differ_by_one_line_where_they_do_not_fill():
    order = echo_order(scan_of(10), "tse")  # three shots of up to four echoes
    assert np.bincount(order.echo_of_line).tolist() in ([2, 3, 2, 3], [3, 2, 3, 2], [2, 3, 3, 2], [3, 2, 2, 3])
    assert order.shot_of_line.max() == 2


def test_padding_has_no_time_and_the_centre_is_that_of_the_matrix():
    order = echo_order(scan_of(11, range(3, 11)), "centric")
    assert order.shot_of_line.tolist() == [-1, -1, -1, 4, 2, 0, 1, 3, 5, 6, 7]
    assert np.isnan(order.time_ms[:3]).all() and (order.echo_of_line[:3] == -1).all()


@given(
    n_lines=st.integers(1, 60),
    echo_train_length=st.integers(1, 17),
    ordering=st.sampled_from(["sequential", "centric", "interleaved", "tse"]),
    missing=st.sets(st.integers(0, 59), max_size=20),
)
def test_every_order_acquires_every_line_once(n_lines, echo_train_length, ordering, missing):
    lines = sorted(set(range(n_lines)) - missing) or [0]
    order = echo_order(scan_of(n_lines, lines, echo_train_length=echo_train_length), ordering)
    assert np.flatnonzero(order.shot_of_line >= 0).tolist() == lines
    shot, echo = order.shot_of_line[lines], order.echo_of_line[lines]
    assert len(set(zip(shot.tolist(), echo.tolist(), strict=True))) == len(lines)
    if ordering == "tse":
        assert echo.max() < echo_train_length
        assert (np.diff(echo) >= 0).all()  # bands are contiguous
        assert np.ptp(np.bincount(echo)) <= 1
        assert shot.max() + 1 == -(-len(lines) // echo_train_length)
    else:
        assert sorted(shot.tolist()) == list(range(len(lines)))
    np.testing.assert_allclose(order.time_ms[lines], shot * 1000.0 + echo * 7.0)
