"""Named streams: pinned values, independence of everything but the names, uniform and uncorrelated draws."""

import hashlib
import subprocess
import sys
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy import stats

from mrisim.seeding import stream

NAMES = st.lists(st.one_of(st.text(max_size=6), st.integers(-3, 300)), max_size=5).map(tuple)


def test_a_stream_is_philox_keyed_by_the_sha256_of_its_names():
    # the recipe written out once, so that a change of it - and of every result - cannot pass unseen
    path = "1:7;9:str:brain;10:str:motion;5:int:0;"
    key = int.from_bytes(hashlib.sha256(path.encode()).digest()[:16], "little")
    expected = np.random.Generator(np.random.Philox(key=key)).random(5)
    np.testing.assert_array_equal(stream(7, "brain", "motion", 0).random(5), expected)


def test_pinned_words():
    assert stream(0, "scan", "noise", 0, "slice", 0).integers(0, 2**32, 2).tolist() == [3391840467, 1253816384]


def test_the_same_words_come_out_of_another_process_with_another_hash_seed():
    code = "from mrisim.seeding import stream; print(stream(3, 'a', 1).integers(0, 2**63))"
    results = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert results == {f"{stream(3, 'a', 1).integers(0, 2**63)}\n"}


@given(seed=st.integers(0, 2**70), names=NAMES)
def test_equal_names_give_equal_draws(seed, names):
    assert stream(seed, *names).bytes(16) == stream(seed, *names).bytes(16)


@given(first=st.tuples(st.integers(0, 5), NAMES), second=st.tuples(st.integers(0, 5), NAMES))
def test_different_names_give_different_draws(first, second):
    same = stream(first[0], *first[1]).bytes(16) == stream(second[0], *second[1]).bytes(16)
    assert same == (first == second)


@pytest.mark.parametrize(
    ("one", "other"),
    [(("a", "b"), ("ab",)), (("a", ""), ("a",)), (("1",), (1,)), (("a;1:b",), ("a", "b")), (("a", "b"), ("b", "a"))],
)
def test_names_cannot_run_into_each_other(one, other):
    assert stream(0, *one).bytes(16) != stream(0, *other).bytes(16)


def test_a_numpy_integer_is_the_integer_that_it_is():
    assert stream(np.int64(4), "a", np.int32(3)).bytes(16) == stream(4, "a", 3).bytes(16)


def test_drawing_from_one_stream_leaves_the_others_alone():
    other = stream(1, "b")
    stream(1, "a").random(1000)
    np.random.default_rng(0).random(10)
    assert other.bytes(16) == stream(1, "b").bytes(16)


def test_neighbouring_streams_are_uniform_and_uncorrelated():
    draws = np.array([stream(seed, "item", "motion", 0, index).random(200) for seed in range(5) for index in range(40)])
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    assert stats.kstest(draws[:, 0], "uniform").pvalue > 1e-3  # the first number of each stream, too
    correlation = [np.corrcoef(a, b)[0, 1] for a, b in pairwise(draws)]
    assert np.max(np.abs(correlation)) < 4.5 / np.sqrt(200)


@pytest.mark.parametrize("seed", [-1, 1.5, "0", None, True])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match=r"seed is .*; expected an integer of 0 or more"):
        stream(seed)
