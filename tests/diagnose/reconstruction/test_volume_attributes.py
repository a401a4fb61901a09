"""Attributes come from the file, its header and the table of files, which may not contradict each other."""

import json
import shutil

import h5py
import numpy as np
import pytest

from diagnose.reconstruction.data_selection import select
from diagnose.reconstruction.volume_attributes import read_attributes
from diagnose.testing import write_volume
from diagnose.volumes import find_volumes
from mrisim.errors import DataError

SYSTEM = (
    "<acquisitionSystemInformation><systemVendor>SIEMENS</systemVendor><systemModel>Skyra</systemModel>"
    "<systemFieldStrength_T>2.8936</systemFieldStrength_T></acquisitionSystemInformation>"
)
HEADER = f'<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">{SYSTEM}</ismrmrdHeader>'


@pytest.fixture
def root(tmp_path):
    for number in range(2):
        path = tmp_path / "multicoil_train" / f"file{number}.h5"
        write_volume(path, f"patient{number}", np.zeros((1, 4), bool))
        with h5py.File(path, "a") as file:
            file.attrs["mrisim_plane"] = "axial"
            file.attrs["mrisim_gain"] = np.float32(1.5) * (number + 1)
            file.attrs["mrisim_list"] = np.arange(3)
    return tmp_path


def read(root):
    return read_attributes(root, find_volumes(root))


def write_table(root, **changes):
    rows = [
        {"path": f"multicoil_train/file{k}.h5", "n_bytes": 7, "sha256": "x", "gain": 1.5 * (k + 1), "site": "north"}
        for k in range(2)
    ]
    rows[1].update(changes)
    (root / "dataset.json").write_text(json.dumps({"spec": {"anatomy": "brain"}, "files": rows}))


def test_scalars_of_the_file_have_no_prefix_and_results_are_no_attributes(root):
    first, second = read(root)
    assert second.attributes["plane"] == "axial"
    assert second.attributes["gain"] == 3.0
    assert second.attributes["patient_id"] == "patient1"
    assert second.attributes["acquisition"] == "PD"
    assert second.attributes["n_slices"] == 1
    assert second.attributes["split"] == "train"
    assert first.attributes["field_strength_t"] == 3.0
    assert not {"list", "max", "norm", "slice_ids", "mrisim_plane"} & set(second.attributes)
    assert select([first, second], [{"gain": 3}]) == (second,)


def test_the_header_names_scanner_and_field(root):
    with h5py.File(root / "multicoil_train" / "file0.h5", "a") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = HEADER.encode()
    attributes = read(root)[0].attributes
    assert (attributes["scanner_vendor"], attributes["scanner_model"]) == ("SIEMENS", "Skyra")
    assert attributes["field_strength_t"] == 2.8936


def test_the_table_of_files_adds_what_it_knows(root):
    write_table(root)
    attributes = read(root)[1].attributes
    assert (attributes["anatomy"], attributes["site"]) == ("brain", "north")
    assert not {"sha256", "n_bytes", "path"} & set(attributes)


def test_a_table_that_contradicts_the_file_is_refused(root):
    write_table(root, gain=2.0)
    with pytest.raises(DataError, match=r"dataset.json says gain = 2.0 of multicoil_train/file1.h5, the file says 3.0"):
        read(root)


@pytest.mark.parametrize("text", ["no json", "[]", '{"spec": {}, "files": []}'])
def test_a_broken_table_is_refused(root, text):
    (root / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=r"dataset.json cannot be read"):
        read(root)


def test_a_header_with_an_entity_is_refused(root):
    with h5py.File(root / "multicoil_train" / "file0.h5", "a") as file:
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = b'<!DOCTYPE x [<!ENTITY a "b">]><ismrmrdHeader/>'
    with pytest.raises(DataError, match="declares a document type"):
        read(root)


def test_a_cohort_without_a_table_is_read_from_its_files(cohort, tmp_path):
    shutil.copytree(cohort / "multicoil_val", tmp_path / "multicoil_val")
    found = read(tmp_path)
    assert len(found) == 10
    assert {file.attributes["acquisition"] for file in found} == {"PD"}
