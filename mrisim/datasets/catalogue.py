"""The catalogue of data sets: find the manifests, in a checkout or an installed wheel; read them; locate the data.

The data themselves are never shipped; a root is given by argument or by the environment variable
``MRISIM_DATA_<NAME>``, for example ``MRISIM_DATA_FASTMRI_KNEE_MULTICOIL``.
"""

import csv
import importlib.resources
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from mrisim.datasets.manifest import Manifest, unknown_fields
from mrisim.errors import ConfigError, DataError

PACKAGE = "data_manifests"
KNOWN_BAD_COLUMNS = ("dataset", "file", "reason", "thread")

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class KnownBad:
    """A file, or a shell pattern of files, that is known to be broken or odd."""

    dataset: str
    file: str
    reason: str
    thread: str


@dataclass(frozen=True)
class DatasetDescription:
    """A manifest and what follows from it."""

    manifest: Manifest
    unknown: tuple[str, ...]
    """Facts that nobody here has seen."""
    known_bad: tuple[KnownBad, ...]
    environment_variable: str


def manifest_folder() -> Traversable:
    """Return the folder of the manifests.

    Raises
    ------
    DataError
        If the package data are absent from this installation.
    """
    try:
        return importlib.resources.files(PACKAGE)
    except ModuleNotFoundError:
        pass
    except NotADirectoryError:
        # Python < 3.13: the path hook of an editable install stands among the folders of the namespace package.
        spec = importlib.util.find_spec(PACKAGE)
        for entry in (spec.submodule_search_locations or ()) if spec else ():
            if Path(entry).is_dir():
                return Path(entry)
    raise DataError(
        f"the folder {PACKAGE!r} is not in this installation; expected it beside the package mrisim: "
        "install the wheel, or run `pip install -e .` in the checkout"
    )


def list_datasets() -> tuple[Manifest, ...]:
    """Return every manifest, sorted by name."""
    names = sorted(entry.name for entry in manifest_folder().iterdir() if entry.name.endswith(".yaml"))
    return tuple(load_manifest(name.removesuffix(".yaml")) for name in names)


def load_manifest(name: str | Path) -> Manifest:
    """Return one manifest.

    Parameters
    ----------
    name : str or Path
        A name of the catalogue, or the path of a YAML file of the user's own.

    Raises
    ------
    ConfigError
        If there is no such manifest, or the file has unknown keys or impossible values.
    """
    if isinstance(name, Path) or name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"manifest {str(name)!r} is not a file; expected a YAML file or a name of the catalogue")
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path.name} is not UTF-8 text at byte {error.start}; expected YAML in UTF-8") from None
        return parse_yaml(text, Manifest, where=path.name)
    file = manifest_folder() / f"{name}.yaml"
    if not file.is_file():
        known = sorted(entry.name[:-5] for entry in manifest_folder().iterdir() if entry.name.endswith(".yaml"))
        raise ConfigError(f"no data set {name!r}; expected one of {', '.join(known)}, or the path of a YAML file")
    manifest = parse_yaml(file.read_text(encoding="utf-8"), Manifest, where=file.name)
    if manifest.name != name:
        raise ConfigError(f"{file.name}: name is {manifest.name!r}; expected the name of the file, {name!r}")
    return manifest


def describe_dataset(manifest: Manifest) -> DatasetDescription:
    """Return a manifest with its unknown facts, its known bad files and the variable that holds its root."""
    return DatasetDescription(manifest, unknown_fields(manifest), known_bad(manifest.name), root_variable(manifest))


def known_bad(dataset: str) -> tuple[KnownBad, ...]:
    """Return the rows of ``known_bad.csv`` that concern a data set."""
    text = (manifest_folder() / "known_bad.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    if tuple(rows.fieldnames or ()) != KNOWN_BAD_COLUMNS:
        raise ConfigError(f"known_bad.csv has columns {rows.fieldnames}; expected {list(KNOWN_BAD_COLUMNS)}")
    return tuple(KnownBad(**row) for row in rows if row["dataset"] == dataset)


def root_variable(manifest: Manifest) -> str:
    """Return the name of the environment variable that holds the root of a data set."""
    return f"MRISIM_DATA_{manifest.name.upper()}"


def dataset_root(
    manifest: Manifest, root: str | Path | None = None, environment: Mapping[str, str] = os.environ
) -> Path:
    """Return the folder of the data: the argument, else the environment variable.

    Raises
    ------
    ConfigError
        If neither is given.
    DataError
        If it is not a folder.
    """
    variable = root_variable(manifest)
    source = "the given root" if root else variable
    root = root or environment.get(variable)
    if not root:
        raise ConfigError(f"where is {manifest.name}? expected a root folder by argument or in {variable}; got neither")
    path = Path(root).expanduser()
    if not path.is_dir():
        raise DataError(f"{source} is {str(root)!r}; expected the existing folder that holds {manifest.name}")
    return path


def parse_yaml(text: str, model: type[Model], *, where: str) -> Model:
    """Return a validated model from YAML text.

    Raises
    ------
    ConfigError
        One line: the place, what was expected, what was found. Unknown and repeated keys are errors.
    """
    try:
        return model.model_validate(yaml.load(text, Loader=_UniqueKeyLoader))
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        # A broken item makes pydantic also report its list as too short; the inner report is the one that helps.
        found = error.errors()
        inner = {problem["loc"][:depth] for problem in found for depth in range(len(problem["loc"]))}
        problems = [_one_problem(problem) for problem in found if problem["loc"] not in inner or not problem["loc"]]
        more = f" (and {len(problems) - 3} more)" if len(problems) > 3 else ""
        raise ConfigError(f"{where}: {'; '.join(problems[:3])}{more}") from error


def _one_problem(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "the whole"
    if problem["type"] == "extra_forbidden":
        return f"{place} is an unknown key"
    got = "" if problem["type"] == "missing" else f"; got {str(problem['input'])[:60]!r}"
    return f"{place}: {problem['msg']}{got}"


class _UniqueKeyLoader(yaml.SafeLoader):
    """PyYAML keeps the last of two equal keys without a word."""


def _mapping(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if isinstance(key, list | dict):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is no plain value", node.start_mark)
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", node.start_mark)
    return {key: loader.construct_object(value, deep=True) for key, (_, value) in zip(keys, node.value, strict=True)}


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
