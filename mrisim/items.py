"""The inputs of a batch: which scans there are, what each is called, and how they are shared out."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mrisim import formats
from mrisim.errors import ConfigError, DataError
from mrisim.files import sha256_of_file
from mrisim.scan import Scan
from mrisim.sidecar import Source, sha256_of_array

DEFAULT_ITEM = "default"
N_BLOCKS, BLOCK_BYTES = 8, 1 << 14
"""Parts of a file, evenly spread from its first to its last bytes, that its fingerprint is taken from."""


@dataclass(frozen=True)
class Item:
    """One input; without a path it is the embedded default."""

    item_id: str
    path: Path | None = None
    file_name: str = ""
    """Path below the input root: what a sidecar may say of the place."""

    @cached_property
    def file_format(self) -> str:
        """Tell what the input is: one of `formats.FORMAT_NAMES`, or ``embedded``.

        Raises
        ------
        DataError
            If it is missing, empty, or of no known type.
        """
        return "embedded" if self.path is None else formats.detect(self.path)


def find_items(inputs: Sequence[Path]) -> list[Item]:
    """List the inputs: files as they are, folders by content; the identity is the path below the folder.

    Raises
    ------
    DataError
        If an input is missing, a folder holds no scan, or two inputs have one identity.
    """
    if not inputs:
        return [Item(DEFAULT_ITEM)]
    items: list[Item] = []
    for given in formats.without_pair_headers(inputs):
        for path in formats.input_files(given):
            # a folder with one DICOM series is an input itself
            root = given if given.is_dir() and path != given else path.parent
            items.append(Item(formats.item_id(path, root), path, path.relative_to(root).as_posix()))
    by_identity: dict[str, Item] = {}
    for item in items:
        other = by_identity.setdefault(item.item_id, item)
        if other is not item:
            raise DataError(
                f"{other.file_name} and {item.file_name} have one identity, {item.item_id!r}; expected different ones"
            )
    for item in items:
        scan = by_identity.get(formats.scan_of_image(item.file_name))
        if scan is not None:
            raise DataError(
                f"{item.file_name} has the name of an image that belongs to the output of {scan.file_name}; "
                "expected them apart, or another name"
            )
    return items


def shard_of(items: Sequence[Item], n_shards: int, shard_id: int) -> list[Item]:
    """Return every n-th item by identity: the shards do not depend on the order of the inputs.

    Raises
    ------
    ConfigError
        If there is no such shard.
    """
    if not 0 <= shard_id < n_shards:
        raise ConfigError(f"shard-id is {shard_id}; expected 0 to {n_shards - 1}")
    return sorted(items, key=lambda item: item.item_id)[shard_id::n_shards]


def load(item: Item, seed: int) -> tuple[Scan, Source]:
    """Read an item and tell where it came from.

    Raises
    ------
    DataError
        If it cannot be read as a scan.
    """
    if item.path is None:
        from mrisim.phantoms.default import default_scan

        scan = default_scan()
        return scan, Source(item.item_id, "", sha256_of_array(scan.kspace), item.file_format)
    scan = formats.read(item.path, seed=seed, layout=item.file_format)
    digest, fingerprint = digest_of(item.path), fingerprint_of(item.path)
    return scan, Source(item.item_id, item.file_name, digest, item.file_format, fingerprint)


def fingerprint_of(path: Path) -> str:
    """Return a hash over the size of an input and `N_BLOCKS` parts of it: another scan of that name has another.

    A run that is taken up again compares all that is done with its input, which it need not read whole for that.

    Raises
    ------
    DataError
        If a file of it cannot be read.
    """
    digest = hashlib.sha256()
    for file in _files_of(path):
        with formats.reading(file, "a readable file"), file.open("rb") as stream:
            size = file.stat().st_size
            digest.update(f"{size};".encode())
            for block in range(N_BLOCKS):
                stream.seek(max(0, size - BLOCK_BYTES) * block // (N_BLOCKS - 1))
                digest.update(stream.read(BLOCK_BYTES))
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of an input: of a file, or over the names and files of a folder (a DICOM series).

    Raises
    ------
    DataError
        If a file of it cannot be read.
    """
    digests = {}
    for file in _files_of(path):
        with formats.reading(file, "a readable file"):
            digests[file] = sha256_of_file(file)
    if not path.is_dir():
        return digests[path]
    return hashlib.sha256("".join(f"{file.name}:{digest};" for file, digest in digests.items()).encode()).hexdigest()


def _files_of(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_file()) if path.is_dir() else [path]


def usable_slices(scan: Scan) -> tuple[list[int], list[int]]:
    """Return the positions of the slices with a finite signal, and the ids of the others.

    Raises
    ------
    DataError
        If no slice is usable.
    """
    broken = list(formats.corrupt_slices(scan))
    good = [position for position, slice_id in enumerate(scan.slice_ids) if slice_id not in broken]
    if not good:
        raise DataError("every slice holds NaN or Inf, or nothing but zeros; expected a measured signal")
    return good, broken
