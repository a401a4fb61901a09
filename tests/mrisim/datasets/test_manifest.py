"""The manifest model: what it refuses, and that the schema and the committed manifests are current."""

import json

import pytest
from pydantic import ValidationError

from mrisim.datasets.catalogue import list_datasets, manifest_folder, parse_yaml
from mrisim.datasets.manifest import (
    Archive,
    ArrayLayout,
    CaseRule,
    Layout,
    Manifest,
    PatientKey,
    manifest_schema,
    unknown_fields,
)
from mrisim.errors import ConfigError

MINIMAL = """
name: tiny
version: "1"
title: Tiny
anatomy: knee
homepage: null
citation: {text: none}
license: null
access: open
access_steps: []
redistribution: null
derived_redistribution: null
disk: null
archives: [{file_name: tiny.tar}]
kspace: {origin: measured, noise_scan: null, readout_oversampling: 2.0, phase_encode_axis: last}
layouts: [{glob: "*.h5", format: hdf5, arrays: [{key: kspace, ndim: 4}]}]
layout_source: test
"""


def test_the_schema_file_is_current():
    committed = (manifest_folder() / "manifest.schema.json").read_text(encoding="utf-8")
    assert committed == json.dumps(manifest_schema(), indent=2, sort_keys=True) + "\n"


def test_an_unknown_key_is_one_clear_line():
    with pytest.raises(ConfigError, match=r"^tiny\.yaml: layouts\.0\.arrays\.0\.shap is an unknown key$"):
        parse_yaml(MINIMAL.replace("ndim: 4", "ndim: 4, shap: [1]"), Manifest, where="tiny.yaml")


def test_a_wrong_value_names_the_place_and_what_was_found():
    with pytest.raises(ConfigError, match=r"access: Input should be 'open'.*got 'gratis'"):
        parse_yaml(MINIMAL.replace("access: open", "access: gratis"), Manifest, where="tiny.yaml")


def test_a_repeated_key_is_an_error():
    with pytest.raises(ConfigError, match="'title' is given twice"):
        parse_yaml(MINIMAL + "title: Other\n", Manifest, where="tiny.yaml")


def test_text_that_is_no_yaml_is_one_line():
    with pytest.raises(ConfigError, match="is not YAML") as error:
        parse_yaml("a: [", Manifest, where="tiny.yaml")
    assert "\n" not in str(error.value)


def test_nulls_are_listed_as_unknown():
    unknown = unknown_fields(parse_yaml(MINIMAL, Manifest, where="tiny.yaml"))
    assert {"license", "archives.0.sha256", "archives.0.n_bytes", "kspace.noise_scan"} <= set(unknown)
    assert "version" not in unknown
    assert "kspace.readout_oversampling" not in unknown


def test_a_hash_needs_its_source():
    with pytest.raises(ValidationError, match="needs the place where it was seen"):
        Archive(file_name="a.tar", sha256="0" * 64)
    assert Archive(file_name="a.tar", sha256="0" * 64, sha256_source="e-mail").sha256 == "0" * 64


def test_no_committed_hash_lacks_a_source_and_none_is_invented():
    for manifest in list_datasets():
        assert all(archive.sha256 is None for archive in manifest.archives), manifest.name


@pytest.mark.parametrize("glob", ["/data/*.h5", "../*.h5", "a\\b.h5", "", "."])
def test_a_glob_that_leaves_the_root_is_refused(glob):
    with pytest.raises(ValidationError, match="relative to the root"):
        Layout(glob=glob, format="csv")


def test_two_stars_beside_other_characters_are_refused():
    with pytest.raises(ValidationError, match="expected it between slashes"):
        Layout(glob="**.h5", format="csv")
    assert Layout(glob="**/a/*.h5", format="csv").glob == "**/a/*.h5"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": "hdf5", "arrays": ()}, "needs arrays"),
        ({"format": "hdf5", "arrays": (ArrayLayout(ndim=3),)}, "each with a key"),
        ({"format": "nifti", "arrays": ()}, "exactly one array"),
        ({"format": "npy", "arrays": (ArrayLayout(key="k", ndim=3),)}, "without a key"),
        ({"format": "csv", "arrays": (ArrayLayout(ndim=3),)}, "no arrays"),
    ],
)
def test_arrays_must_fit_the_format(changes, message):
    with pytest.raises(ValidationError, match=message):
        Layout(glob="*", **changes)


def test_axes_must_agree_with_ndim():
    with pytest.raises(ValidationError, match="axes has 2 entries; expected ndim = 3"):
        ArrayLayout(ndim=3, axes=("slice", "row"))


def test_a_patient_key_has_one_source_with_a_group():
    with pytest.raises(ValidationError, match="exactly one of attribute, pattern"):
        PatientKey(attribute="patient_id", pattern="(?P<value>x)")
    with pytest.raises(ValidationError, match="no group"):
        PatientKey(pattern=r"(\d+)")
    with pytest.raises(ValidationError, match="no regular expression: unterminated"):
        PatientKey(pattern="(?P<value>[0-9)")


def test_the_pattern_of_a_case_has_a_group():
    with pytest.raises(ValidationError, match="no group"):
        CaseRule(pattern=r"(\d+)")
    assert CaseRule(pattern=r"(?P<value>\d+)").same_shape


def test_a_key_that_is_a_list_is_one_line():
    with pytest.raises(ConfigError, match=r"the key \['a', 'b'\] is no plain value"):
        parse_yaml(MINIMAL + "? [a, b]\n: 3\n", Manifest, where="tiny.yaml")


def test_expected_counts_name_a_split_that_exists():
    text = MINIMAL + "expected: [{split: train, n_files: 3, source: test}]\n"
    with pytest.raises(ConfigError, match="'train' is the split of no layout"):
        parse_yaml(text, Manifest, where="tiny.yaml")


def test_a_manifest_is_frozen():
    manifest = parse_yaml(MINIMAL, Manifest, where="tiny.yaml")
    with pytest.raises(ValidationError, match="frozen"):
        manifest.name = "other"
