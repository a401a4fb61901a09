"""A sidecar's text: what JSON says it is, and short enough to be read."""

import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from mrisim import sidecar
from mrisim.formats import hdf5

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda part: st.lists(part) | st.dictionaries(st.text(), part))


@given(record=st.dictionaries(st.text(), VALUES))
def test_the_text_is_the_record(record):
    assert json.loads(sidecar._as_text(record, "")) == record


def test_numbers_share_a_line_and_all_else_has_its_own():
    record = {"Slices": (0, 1), "Corruption": [{"Shift": [[0.5, 1e-7], []]}], "Nothing": {}, "Name": 'a"b'}
    assert sidecar._as_text(record, "").splitlines() == [
        "{",
        ' "Slices": [0, 1],',
        ' "Corruption": [',
        "  {",
        '   "Shift": [',
        "    [0.5, 1e-07],",
        "    []",
        "   ]",
        "  }",
        " ],",
        ' "Nothing": {},',
        r' "Name": "a\"b"',
        "}",
    ]


@pytest.mark.parametrize("value", [float("nan"), [0.0, float("inf")]])
def test_what_is_no_number_is_refused(tmp_path: Path, value):
    with pytest.raises(ValueError, match="JSON"):
        sidecar.save(tmp_path / "x.json", {"a": {"b": value}})
    assert not list(tmp_path.iterdir())


def test_what_a_file_is_is_found_out_once(mrisim, tmp_path: Path, small_scan, write_fastmri, monkeypatch):
    file, looks = write_fastmri(tmp_path / "file1.h5", small_scan()), []
    detect = hdf5.detect_layout
    monkeypatch.setattr("mrisim.formats.signature.detect_layout", lambda path: looks.append(path) or detect(path))
    assert mrisim("corrupt", file, "--kind", "spikes:1", "--out", "o").code == 0
    assert looks == [file]
