"""Write a cohort in the layouts of the real sets: fastMRI HDF5, the tables of fastMRI+, BraTS 2023 NIfTI, dataset.json.

A patient is done once its record lies in `RECORDS`; files appear whole or not at all. The tables and ``dataset.json``
are made from the records at the end, in the order of the patients, and the records are then removed.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mrisim import __version__
from mrisim.cohort_patient import CohortVolume, acquire_patient, anatomy_module
from mrisim.cohort_protocol import GENERATOR, RASTER_FACTOR, CohortSpec
from mrisim.datasets.label_map import ANNOTATION_COLUMNS
from mrisim.files import sha256_of_file, write_text, written_whole

DATASET_FILE = "dataset.json"
RECORDS = ".mrisim-cohort"
"""Folder with one record per finished patient, and with the request; it is gone once the cohort is complete."""
CONSPICUITY_COLUMNS = ("file", "slice", "label", "conspicuity")
TILE_BYTES = 8192
"""Of one slice in a chunk of the maps: two of them fit into the 32 kB that deflate looks back."""
BRATS_ROLES = {"t1": "t1n", "t1ce": "t1c", "t2": "t2w", "flair": "t2f"}


def write_patient(spec: CohortSpec, patient: int, folder: Path) -> dict[str, Any]:
    """Make one patient and write its files and, last, its record.

    Returns
    -------
    dict
        The record: files with sizes and SHA-256, rows of the table of findings.
    """
    files, rows = [], []
    for volume in acquire_patient(spec, patient):
        path = folder / f"multicoil_{volume.split}" / f"{volume.stem}.h5"
        write_hdf5(path, volume)
        paths = [path]
        if volume.segmentation is not None:
            paths += _write_nifti(folder / "TrainingData", spec, patient, volume)
        for each in paths:
            facts = {"path": each.relative_to(folder).as_posix(), "n_bytes": each.stat().st_size}
            files.append({**facts, "sha256": sha256_of_file(each), **_facts(volume)})
        rows += list(_rows(volume))
    record = {"patient": patient, "files": files, "rows": rows}
    write_text(record_path(folder, patient), json.dumps(record))
    return record


def record_path(folder: Path, patient: int) -> Path:
    """Return where the record of a finished patient lies."""
    return folder / RECORDS / f"{patient:06d}.json"


def write_hdf5(path: Path, volume: CohortVolume) -> None:
    """Write one volume as a fastMRI file, with the true coil maps and the noise covariance beside it.

    The maps are the same for all slices; their chunks hold all slices of a tile, so that the repeats cost little:
    with 8 slices a tenth of the k-space's size.
    """
    import h5py

    from mrisim.formats import fastmri, writing

    scan = volume.scan
    with writing(path) as part, h5py.File(part, "w") as file:
        file.create_dataset("kspace", data=scan.kspace)
        file.create_dataset("reconstruction_rss", data=volume.image)
        file.create_dataset("ismrmrd_header", data=header(volume))
        file.create_dataset(fastmri.PSI, data=scan.noise_covariance)
        _write_maps(file, fastmri.CSM, volume)
        image = volume.image
        file.attrs["max"] = float(image.max())
        file.attrs["norm"] = float(np.linalg.norm(image.astype(np.float64)))
        file.attrs["patient_id"] = scan.acquisition.patient_id
        file.attrs["acquisition"] = scan.acquisition.contrast
        file.attrs[fastmri.ACQUISITION_ATTRIBUTE] = fastmri_acquisition(volume)
        file.attrs[fastmri.SLICES_ATTRIBUTE] = np.asarray(scan.slice_ids)
        for name, value in volume.attributes.items():
            file.attrs[f"mrisim_{name}"] = value


def _write_maps(file: Any, name: str, volume: CohortVolume) -> None:
    scan, csm = volume.scan, volume.csm
    shape = scan.kspace.shape
    n_tile_rows = min(max(TILE_BYTES // (8 * shape[3]), 1), shape[2])
    chunks = (shape[0], 1, n_tile_rows, shape[3])
    maps = file.create_dataset(name, shape, np.complex64, chunks=chunks, compression="gzip", compression_opts=1)
    maps[...] = np.broadcast_to(csm, shape)


def header(volume: CohortVolume) -> bytes:
    """Return the ISMRMRD header: geometry, timing, limits, field strength, and the virtual scanner as the model."""
    from mrisim.formats.header import header_xml

    model = f"<systemVendor>mrisim (simulated)</systemVendor><systemModel>{volume.attributes['scanner']}</systemModel>"
    place = b"<acquisitionSystemInformation>"
    return header_xml(volume.scan).replace(place, place + model.encode(), 1)


def fastmri_acquisition(volume: CohortVolume) -> str:
    """Return the acquisition as the reader of our own files expects it."""
    from dataclasses import asdict

    return json.dumps(asdict(volume.scan.acquisition))


def _facts(volume: CohortVolume) -> dict[str, Any]:
    acquisition = volume.scan.acquisition
    return {
        "split": volume.split,
        "patient_id": acquisition.patient_id,
        "acquisition": acquisition.contrast,
        "n_slices": volume.scan.n_slices,
        **volume.attributes,
    }


def _rows(volume: CohortVolume) -> Iterator[list[Any]]:
    """Yield the findings: file, slice, box in the up-down flipped image as fastMRI+ counts, label, conspicuity."""
    n_rows = volume.image.shape[1]
    for index, findings in enumerate(volume.findings):
        for box in findings:
            flipped_y = n_rows - box.y - box.height
            yield [volume.stem, index, box.x, flipped_y, box.width, box.height, box.label, box.conspicuity]


def _write_nifti(folder: Path, spec: CohortSpec, patient: int, volume: CohortVolume) -> list[Path]:
    """Write the image without the skull, and with the first contrast the labels, as BraTS 2023 names and turns them.

    Array (x, y, slice): x towards the patient's left, y towards the back, in the frame of the head phantom. Unlike
    BraTS, slices lie as far apart as they were acquired, and nothing was resampled to 1 mm.
    """
    import nibabel

    case = f"BraTS-GLI-{patient:05d}-000"
    image = volume.image if volume.stripped is None else np.where(volume.stripped, volume.image, np.float32(0))
    parts: list[tuple[str, np.ndarray]] = [(BRATS_ROLES[volume.contrast], image)]
    if volume.contrast == spec.contrasts[0] and volume.segmentation is not None:
        parts.append(("seg", volume.segmentation.astype(np.uint8)))
    paths = []
    for role, array in parts:
        path = folder / case / f"{case}-{role}.nii.gz"
        nifti = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), _affine(spec, volume))
        nifti.header.set_xyzt_units("mm")
        with written_whole(path) as partial:
            partial.write_bytes(_gzipped(nifti.to_bytes()))
        paths.append(path)
    return paths


def _affine(spec: CohortSpec, volume: CohortVolume) -> np.ndarray:
    """Return voxel indices -> RAS mm of the axial stack.

    The centre pixel N//2 of the grid is that of the raster, whose pixels lie symmetrically about the centre of the
    field of view: half a pixel of the raster beyond it.
    """
    centre_mm = anatomy_module(spec).CENTRE_MM
    n_rows, n_columns = volume.image.shape[1:]
    spacing = (spec.fov_mm[1] / n_columns, spec.fov_mm[0] / n_rows)
    first = [n // 2 - 0.5 / RASTER_FACTOR for n in (n_columns, n_rows)]
    positions = volume.positions_mm
    gap = positions[1] - positions[0] if len(positions) > 1 else spec.slice_thickness_mm
    affine = np.diag([-spacing[0], -spacing[1], gap, 1.0])
    affine[:3, 3] = (centre_mm[0] + first[0] * spacing[0], centre_mm[1] + first[1] * spacing[1], positions[0])
    return affine


def _gzipped(data: bytes) -> bytes:
    import gzip

    # A time stamp in the header would make equal files different.
    return gzip.compress(data, compresslevel=1, mtime=0)


def finish(spec: CohortSpec, folder: Path) -> dict[str, Any]:
    """Write the tables and ``dataset.json`` from the records of all patients, and remove the records.

    Returns
    -------
    dict
        The content of ``dataset.json``.
    """
    records = [json.loads(record_path(folder, i).read_text()) for i in range(spec.n_patients.total)]
    files = [file for record in records for file in record["files"]]
    rows = [row for record in records for row in record["rows"]]
    tables = folder / "Annotations"
    annotations = [[row[0], row[1], "No", *row[2:6], row[6]] for row in rows]
    stems = [Path(file["path"]).stem for file in files if file["path"].endswith(".h5")]
    write_text(tables / f"{spec.anatomy}.csv", _table(ANNOTATION_COLUMNS, annotations))
    write_text(tables / f"{spec.anatomy}_file_list.csv", "".join(f"{stem}\n" for stem in stems))
    graded = [[row[0], row[1], row[6], f"{row[7]:.4f}"] for row in rows]
    write_text(tables / f"{spec.anatomy}_conspicuity.csv", _table(CONSPICUITY_COLUMNS, graded))
    description = describe(spec, files)
    for path in sorted(tables.glob(f"{spec.anatomy}*.csv")):
        relative = path.relative_to(folder).as_posix()
        description["tables"].append({"path": relative, "sha256": sha256_of_file(path)})
    write_text(folder / DATASET_FILE, json.dumps(description, indent=1) + "\n")
    shutil.rmtree(folder / RECORDS)
    return description


def describe(spec: CohortSpec, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the content of ``dataset.json``: generator, seed, every parameter, every file."""
    return {
        "name": f"phantom_{spec.anatomy}",
        "origin": "simulated: every score on it is a simulation result",
        "generator": {"program": "mrisim", "version": __version__, "cohort": GENERATOR},
        "seed": spec.seed,
        "spec_sha256": spec.sha256,
        "spec": spec.model_dump(mode="json"),
        "raster_factor": RASTER_FACTOR,
        "boxes": "pixels of the up-down flipped image, as in fastMRI+",
        "n_patients": spec.n_patients.model_dump(),
        "tables": [],
        "files": files,
    }


def _table(columns: tuple[str, ...], rows: list[list[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
