"""Latents to JSON and back: every bit, through a real JSON text."""

import json
from dataclasses import dataclass, fields

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp

from mrisim.artifacts import KINDS
from mrisim.provenance import READABLE_SIZE, from_json, to_json
from mrisim.seeding import stream
from mrisim.testing import scans


@dataclass(frozen=True)
class Latents:
    array: np.ndarray
    number: float
    count: int


def through_text(latents):
    text = json.dumps(to_json(latents), allow_nan=False)
    return from_json(type(latents), json.loads(text))


def assert_same_bits(a, b):
    for entry in fields(a):
        left, right = getattr(a, entry.name), getattr(b, entry.name)
        assert type(left) is type(right)
        if isinstance(left, np.ndarray):
            assert (left.dtype, left.shape) == (right.dtype, right.shape)
            assert left.tobytes() == right.tobytes()
        else:
            assert left == right


DTYPES = [np.float64, np.float32, np.complex64, np.complex128, np.int64, np.uint32, np.uint8, np.bool_]


@given(data=st.data(), dtype=st.sampled_from(DTYPES), number=st.floats(allow_nan=False, allow_infinity=False))
@settings(max_examples=60)
def test_every_bit_survives(data, dtype, number):
    elements = {"allow_nan": False, "allow_infinity": False} if np.dtype(dtype).kind in "fc" else {}
    array = data.draw(hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0), elements=elements))
    latents = Latents(array, number, 3)
    assert_same_bits(latents, through_text(latents))


@pytest.mark.parametrize("size", [READABLE_SIZE, READABLE_SIZE + 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_large_arrays_survive_too(size, dtype):
    rng = np.random.default_rng(0)
    latents = Latents((100 * rng.normal(size=(size, 1))).astype(dtype), 0.1, 1)
    record = to_json(latents)["array"]
    assert ("base64" in record) == (size > READABLE_SIZE)
    assert_same_bits(latents, through_text(latents))
    back = through_text(latents).array
    back[0] = 0  # writeable


def test_negative_zero_and_the_smallest_numbers_survive():
    array = np.array([-0.0, 5e-324, 1.7976931348623157e308, 0.1])
    assert through_text(Latents(array, -0.0, 0)).array.tobytes() == array.tobytes()
    swapped = complex(-0.0, 0.0) * np.ones(1)
    assert through_text(Latents(swapped, 0.0, 0)).array.tobytes() == swapped.tobytes()


def test_another_byte_order_and_a_slice_of_an_array():
    array = np.arange(12, dtype=">i4").reshape(3, 4)[:, ::2]
    np.testing.assert_array_equal(through_text(Latents(array, 0.0, 0)).array, array)


def test_small_arrays_are_readable():
    assert to_json(Latents(np.array([1.5, 2]), 0.5, 7)) == {
        "array": {"dtype": "<f8", "shape": [2], "values": [1.5, 2.0]},
        "number": 0.5,
        "count": 7,
    }


@given(scan=scans(), seed=st.integers(0, 9))
@settings(max_examples=10)
def test_the_latents_of_every_kind_survive(scan, seed):
    for kind, spec_class in KINDS.items():
        latents = spec_class.at_level(2).draw(scan, rng=stream(seed, kind))
        assert type(latents) is spec_class.latents_type
        assert_same_bits(latents, through_text(latents))
