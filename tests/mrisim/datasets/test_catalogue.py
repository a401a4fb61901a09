"""The catalogue: the committed manifests, and finding them from a checkout and from an installed wheel."""

import importlib.resources

import pytest

from mrisim.datasets import catalogue
from mrisim.datasets.catalogue import (
    dataset_root,
    describe_dataset,
    known_bad,
    list_datasets,
    load_manifest,
    manifest_folder,
    root_variable,
)
from mrisim.errors import ConfigError, DataError

REQUIRED = {
    "fastmri_knee_multicoil",
    "fastmri_knee_singlecoil",
    "fastmri_brain_multicoil",
    "fastmri_prostate_t2",
    "fastmri_plus",
    "mrnet_v1",
    "brats2021",
    "brats2023_gli",
    "brats2024_gli",
    "m4raw",
    "stanford_3d",
    "stanford_2d",
    "nyu_knee",
    "cc359",
    "skm_tea",
    "seven_t",
    "phantom_knee",
    "phantom_brain",
}


def test_every_manifest_loads_and_is_described():
    manifests = list_datasets()
    assert [manifest.name for manifest in manifests] == sorted(REQUIRED)
    for manifest in manifests:
        assert manifest.access_steps, manifest.name
        assert manifest.access == "generated" or manifest.homepage, manifest.name


def test_a_description_says_what_nobody_has_seen():
    description = describe_dataset(load_manifest("fastmri_knee_multicoil"))
    assert "archives.0.sha256" in description.unknown
    assert description.environment_variable == "MRISIM_DATA_FASTMRI_KNEE_MULTICOIL"


def test_known_bad_rows_name_data_sets_that_exist():
    assert {bad.dataset for name in REQUIRED for bad in known_bad(name)} == {
        "fastmri_plus",
        "nyu_knee",
        "fastmri_prostate_t2",
    }
    lines = (manifest_folder() / "known_bad.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) - 1 == sum(len(known_bad(name)) for name in REQUIRED)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"no data set 'fastmri'; expected one of .*fastmri_plus"):
        load_manifest("fastmri")


def test_a_users_own_manifest_is_loaded_by_path(tmp_path):
    own = tmp_path / "own.yaml"
    own.write_text((manifest_folder() / "cc359.yaml").read_text(encoding="utf-8").replace("name: cc359", "name: own"))
    assert load_manifest(own).name == "own"
    assert load_manifest(str(own)).name == "own"
    with pytest.raises(ConfigError, match="is not a file"):
        load_manifest(tmp_path / "absent.yaml")
    own.write_bytes(own.read_bytes().replace(b"title: ", b"title: M\xfcller "))
    with pytest.raises(ConfigError, match="is not UTF-8 text at byte"):
        load_manifest(own)


def test_the_root_comes_from_the_argument_then_from_the_environment(tmp_path):
    manifest = load_manifest("cc359")
    other = tmp_path / "other"
    other.mkdir()
    environment = {root_variable(manifest): str(tmp_path)}
    assert dataset_root(manifest, other, environment) == other
    assert dataset_root(manifest, None, environment) == tmp_path
    with pytest.raises(ConfigError, match="in MRISIM_DATA_CC359; got neither"):
        dataset_root(manifest, None, {})
    with pytest.raises(DataError, match=r"MRISIM_DATA_CC359 is .*expected the existing folder"):
        dataset_root(manifest, None, {root_variable(manifest): str(tmp_path / "absent")})


def test_absent_package_data_are_one_clear_line(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", absent)
    with pytest.raises(DataError, match="'data_manifests' is not in this installation"):
        manifest_folder()


def test_an_editable_install_is_read_although_its_path_hook_is_no_folder(monkeypatch):
    def editable(name):
        raise NotADirectoryError("MultiplexedPath only supports directories")

    monkeypatch.setattr(importlib.resources, "files", editable)
    assert (catalogue.manifest_folder() / "known_bad.csv").is_file()
