"""What an input is known by: all of its bytes, or its size and some of them."""

import hashlib
from pathlib import Path

import pytest

from mrisim.errors import DataError
from mrisim.items import BLOCK_BYTES, N_BLOCKS, digest_of, fingerprint_of

SIZE = 40 * BLOCK_BYTES


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(bytes(SIZE))
    return path


def test_the_digest_is_that_of_the_bytes(file):
    assert digest_of(file) == hashlib.sha256(bytes(SIZE)).hexdigest()


@pytest.mark.parametrize("at", [0, SIZE - 1, *(SIZE * block // (N_BLOCKS - 1) for block in range(1, N_BLOCKS - 1))])
def test_a_byte_in_any_of_the_parts_changes_the_fingerprint(file, at):
    before = fingerprint_of(file)
    with file.open("r+b") as stream:
        stream.seek(min(at, SIZE - 1))
        stream.write(b"\1")
    assert fingerprint_of(file) != before


def test_the_size_belongs_to_it_and_the_name_does_not(file):
    before = fingerprint_of(file)
    assert fingerprint_of(file.rename(file.with_name("b.h5"))) == before
    file.with_name("b.h5").write_bytes(bytes(SIZE + 1))
    assert fingerprint_of(file.with_name("b.h5")) != before
    file.with_name("b.h5").write_bytes(b"")
    assert len(fingerprint_of(file.with_name("b.h5"))) == 64


def test_every_file_of_a_folder_counts(tmp_path):
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(name.encode())
    digest, fingerprint = digest_of(tmp_path), fingerprint_of(tmp_path)
    (tmp_path / "2.dcm").write_bytes(b"3.dcm")
    assert digest_of(tmp_path) != digest and fingerprint_of(tmp_path) != fingerprint


@pytest.mark.parametrize("known_by", [digest_of, fingerprint_of])
def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch, known_by):
    for name in ("1.dcm", "2.dcm"):
        (tmp_path / name).write_bytes(name.encode())
    original = Path.open

    def refused(path, *args, **flags):
        if path.name == "2.dcm":
            raise PermissionError(13, "Permission denied", str(path))
        return original(path, *args, **flags)

    monkeypatch.setattr(Path, "open", refused)
    with pytest.raises(DataError, match=r"^2\.dcm cannot be read .* expected a readable file"):
        known_by(tmp_path)
