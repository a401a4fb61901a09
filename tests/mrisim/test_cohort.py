"""A small cohort: its physics, its layout read by independent tools, its bytes, and what it refuses."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import ismrmrd
import nibabel
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from mrisim import cohort, cohort_knee, formats
from mrisim.cohort_cache import cached_cohorts, cached_path, clear_cache, default_cohort
from mrisim.cohort_patient import SIGNAL_SCALE, acquire_patient, examine, paint_slice, receive
from mrisim.cohort_protocol import (
    SCANNERS,
    CohortSpec,
    VirtualScanner,
    choose_scanners,
    cohort_spec,
    default_spec,
    split_sizes,
)
from mrisim.cohort_writer import write_patient
from mrisim.datasets.catalogue import load_manifest
from mrisim.datasets.label_map import box_in_array, label_slices, load_label_map, read_annotations, read_file_list
from mrisim.datasets.patient_split import split_dataset
from mrisim.datasets.verify import verify_dataset
from mrisim.errors import ConfigError, DataError
from mrisim.fourier import centred_ifft
from mrisim.phantoms.fields import draw_field
from mrisim.phantoms.knee import Finding
from mrisim.phantoms.knee_lesions import LABELS
from mrisim.phantoms.knee_scene import TISSUES
from mrisim.phantoms.scanner import correlated_noise
from mrisim.quality import rss
from mrisim.seeding import stream


def small_scanner(name: str, n_coils: int = 3, field_strength_t: float = 3.0) -> VirtualScanner:
    """Odd and unequal sizes; the number of coils differs from every other axis."""
    return VirtualScanner(
        name=name,
        field_strength_t=field_strength_t,
        matrix=(48, 41),
        n_coils=n_coils,
        ring_radius_over_fov=0.7,
        bandwidth_hz_per_pixel=400.0,
        noise_std=(0.01, 0.02),
    )


def small_spec(**changes: Any) -> CohortSpec:
    values = {
        "anatomy": "knee",
        "n_patients": {"train": 3, "val": 1, "test": 1},
        "n_slices": 2,
        "contrasts": ("pd", "pdfs"),
        "scanners": (small_scanner("low", 3, 1.5), small_scanner("high", 5)),
        "seed": 7,
    }
    return cohort_spec(**{**values, **changes})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "knees"
    report = cohort.make_cohort(small_spec(), folder, n_workers=1)
    assert (report.n_patients, report.n_made) == (5, 5)
    return folder


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def volumes(folder: Path) -> list[Path]:
    return sorted(folder.glob("multicoil_*/*.h5"))


# ---------------------------------------------------------------- bytes


def test_two_workers_write_the_same_bytes(made: Path, tmp_path: Path) -> None:
    cohort.make_cohort(small_spec(), tmp_path / "other", n_workers=2)
    assert tree(tmp_path / "other") == tree(made)
    assert len(tree(made)) == 10 + 3 + 1


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_cohort import small_spec
from mrisim.cohort import make_cohort
if __name__ == "__main__":
    make_cohort(small_spec(), Path(sys.argv[1]), n_workers=1, on_patient=lambda done, total: print(done, flush=True))
"""


def test_a_run_that_was_killed_resumes_to_the_same_bytes(made: Path, tmp_path: Path) -> None:
    script, folder = tmp_path / "run.py", tmp_path / "killed"
    script.write_text(KILLED.format(tests=str(Path(__file__).parent)))
    process = subprocess.Popen(
        [sys.executable, script, folder], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "1":
            break
    os.killpg(process.pid, signal.SIGKILL)  # with its worker, which might finish all before it notices
    process.wait()
    process.stdout.close()
    n_there = len(list((folder / ".mrisim-cohort").glob("0*.json")))
    assert 1 <= n_there < 5
    assert not cohort.is_complete(folder)
    report = cohort.make_cohort(small_spec(), folder, n_workers=1)
    assert report.n_made == 5 - n_there
    assert tree(folder) == tree(made)
    assert cohort.make_cohort(small_spec(), folder).n_made == 0


def test_a_patient_depends_on_nobody_else(made: Path, tmp_path: Path) -> None:
    more = small_spec(n_patients={"train": 30, "val": 2, "test": 9})
    write_patient(more, 1, tmp_path)
    for path in volumes(tmp_path):
        assert path.read_bytes() == (made / path.relative_to(tmp_path)).read_bytes()
    other_seed = tmp_path / "other"
    write_patient(small_spec(seed=8), 1, other_seed)
    assert volumes(other_seed)[0].read_bytes() != (made / "multicoil_train" / volumes(other_seed)[0].name).read_bytes()


def test_memory_does_not_grow_with_the_number_of_patients(tmp_path: Path) -> None:
    spec = small_spec(contrasts=("pd",), n_slices=1, n_patients={"train": 40, "val": 0, "test": 0})
    write_patient(spec, 0, tmp_path)  # what is cached once
    peaks = []
    for patients in (range(1, 3), range(3, 15)):
        tracemalloc.start()
        for patient in patients:
            write_patient(spec, patient, tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.15 * peaks[0] + 200_000


# ---------------------------------------------------------------- independent readers


def fastmri_loader(path: Path) -> tuple[np.ndarray, np.ndarray, dict[str, Any], ismrmrd.xsd.ismrmrdHeader]:
    """What a fastMRI data loader does: h5py, the keys of the publication, the padding from the header."""
    with h5py.File(path, "r") as file:
        header = ismrmrd.xsd.CreateFromDocument(file["ismrmrd_header"][()])
        return file["kspace"][()], file["reconstruction_rss"][()], dict(file.attrs), header


def test_files_are_fastmri_files_for_an_independent_reader(made: Path) -> None:
    fields = set()
    for path in volumes(made):
        kspace, target, attributes, header = fastmri_loader(path)
        n_coils = header.acquisitionSystemInformation.receiverChannels
        assert kspace.dtype == np.complex64 and target.dtype == np.float32
        assert kspace.shape == (2, n_coils, 48, 41) and target.shape == (2, 48, 41)
        shifted = np.fft.ifftshift(kspace.astype(np.complex128), (-2, -1))
        images = np.fft.fftshift(np.fft.ifft2(shifted, norm="ortho"), (-2, -1))
        np.testing.assert_allclose(target, np.sqrt((np.abs(images) ** 2).sum(1)), rtol=2e-5, atol=1e-9)
        assert attributes["max"] == pytest.approx(target.max(), rel=1e-6)
        assert attributes["norm"] == pytest.approx(np.linalg.norm(target), rel=1e-5)
        assert 3e-5 < attributes["max"] < 3e-3  # where fastMRI's images lie
        encoding = header.encoding[0]
        space, limits = encoding.encodedSpace, encoding.encodingLimits.kspace_encoding_step_1
        assert (space.matrixSize.x, space.matrixSize.y) == (48, 41)
        assert (space.fieldOfView_mm.x, space.fieldOfView_mm.y) == (118, 118)
        first = space.matrixSize.y // 2 - limits.center
        assert (first, first + limits.maximum + 1) == (0, 41)
        assert encoding.encodingLimits.slice.maximum == 1
        is_fat_saturated = attributes["acquisition"] == "CORPDFS_FBK"
        assert attributes["acquisition"] in ("CORPD_FBK", "CORPDFS_FBK")
        assert [3120.0 if is_fat_saturated else 2750.0] == header.sequenceParameters.TR
        assert [33.0 if is_fat_saturated else 27.0] == header.sequenceParameters.TE
        assert encoding.echoTrainLength == 4
        system = header.acquisitionSystemInformation
        assert system.systemFieldStrength_T == {"low": 1.5, "high": 3.0}[system.systemModel]
        assert n_coils == {"low": 3, "high": 5}[system.systemModel]
        fields.add(system.systemFieldStrength_T)
    assert fields == {1.5, 3.0}


def test_our_reader_and_the_manifest_agree_with_the_files(made: Path) -> None:
    report = verify_dataset(load_manifest("phantom_knee"), made, deep=True)
    assert report.ok and not report.findings
    assert {count.split: count.n_patients for count in report.counts if count.split != "all"} == {
        "train": 3,
        "val": 1,
        "test": 1,
    }
    scan = formats.read(volumes(made)[0])
    assert scan.acquisition.kspace_origin == "simulated" and not scan.acquisition.assumed
    assert scan.csm is not None and scan.noise_covariance is not None and scan.fully_sampled


def test_dataset_json_names_every_parameter_and_every_file(made: Path) -> None:
    description = json.loads((made / "dataset.json").read_text())
    assert description["generator"]["cohort"] == "3" and description["seed"] == 7
    assert CohortSpec.model_validate(description["spec"]) == small_spec()
    listed = {entry["path"]: entry["sha256"] for entry in description["files"] + description["tables"]}
    found = tree(made)
    found.pop("dataset.json")
    assert listed == found
    assert str(made) not in (made / "dataset.json").read_text()


# ---------------------------------------------------------------- physics


def test_coil_images_are_the_maps_times_one_object_plus_the_stated_noise(made: Path) -> None:
    """After whitening, what the maps do not explain is noise of unit variance, in all but one direction."""
    ratios = []
    for path in volumes(made):
        scan = formats.read(path)
        whitener = np.linalg.inv(np.linalg.cholesky(scan.noise_covariance))
        images = np.einsum("ij,sjrp->sirp", whitener, centred_ifft(scan.kspace))
        csm = np.einsum("ij,sjrp->sirp", whitener, scan.csm)
        csm = csm / np.linalg.norm(csm, axis=1, keepdims=True)
        residual = images - csm * (csm.conj() * images).sum(1, keepdims=True)
        ratios.append((np.abs(residual) ** 2).mean() * scan.n_coils / (scan.n_coils - 1))
    # the product of map and object is cut at the edge of k-space, which the maps cannot explain: a few per cent
    assert 0.97 < np.mean(ratios) < 1.35, ratios


def test_noise_in_the_file_has_the_stated_covariance() -> None:
    spec = small_spec(contrasts=("pd",))
    (volume,), examination = acquire_patient(spec, 3), examine(spec, 3)
    scale = SIGNAL_SCALE * float(volume.attributes["gain"])
    clean = np.stack([scale * _clean_kspace(spec, examination, index) for index in range(2)])
    noise = (volume.scan.kspace - clean).transpose(1, 0, 2, 3).reshape(volume.scan.n_coils, -1)
    stated = volume.scan.noise_covariance
    per_component = scale * float(volume.attributes["noise_std"])
    np.testing.assert_allclose(np.diag(stated).real.mean(), 2 * per_component**2, rtol=1e-6)
    # 2 x 48 x 41 samples: 1.6 % of a variance
    assert np.abs(noise @ noise.conj().T / noise.shape[1] - stated).max() < 0.07 * np.abs(stated).max()
    assert np.abs(noise @ noise.T / noise.shape[1]).max() < 0.07 * np.abs(stated).max()  # circular
    assert noise.mean() == pytest.approx(0, abs=5 * np.sqrt(np.abs(stated).max() / noise.size))


def test_boxes_of_the_table_lie_on_the_lesions(made: Path) -> None:
    """The healthy twin differs from the subject inside the boxes, once they are flipped back."""
    spec, inside, everywhere = small_spec(), 0.0, 0.0
    rows = {(row.file, row.slice): [] for row in read_annotations(made / "Annotations" / "knee.csv")}
    for row in read_annotations(made / "Annotations" / "knee.csv"):
        rows[row.file, row.slice].append(row.box)
    for (stem, index), boxes in rows.items():
        patient, contrast = divmod(int(stem.removeprefix("file")) - 1_000_000, 2)
        if contrast == 1:
            continue
        sick = examine(spec, patient)
        images = [
            _clean_image(spec, who, index) for who in (sick, replace(sick, subject=sick.subject.without_lesions()))
        ]
        difference = (images[0] - images[1]) ** 2
        mask = np.zeros(difference.shape, bool)
        for x, y, width, height in (box_in_array(box, 48) for box in boxes):
            # a pixel on each side: ringing, and what off-resonance and chemical shift move
            mask[max(y - 2, 0) : y + height + 2, max(x - 1, 0) : x + width + 1] = True
        inside, everywhere = inside + difference[mask].sum(), everywhere + difference.sum()
    assert len(rows) >= 4
    assert inside > 0.8 * everywhere


def _clean_image(spec: CohortSpec, examination: Any, index: int) -> np.ndarray:
    return rss(centred_ifft(_clean_kspace(spec, examination, index)))


def _clean_kspace(spec: CohortSpec, examination: Any, index: int) -> np.ndarray:
    position = float(cohort_knee.slice_positions(examination.subject, spec.n_slices, "sagittal")[index])
    return receive(spec, examination, paint_slice(spec, examination, position), "pd", position)


@pytest.mark.parametrize(
    ("box", "raster", "matrix", "expected"),
    [
        ((20, 10, 4, 2), (96, 96), (96, 96), (20, 10, 4, 2)),
        # raster pixel 48 is the centre 24 of the grid; 47 and 48 together touch pixels 23 (to 23.5) and 24
        ((48, 48, 1, 1), (96, 96), (48, 48), (24, 24, 1, 1)),
        ((47, 48, 2, 1), (96, 96), (48, 48), (23, 24, 2, 1)),
        ((45, 41, 3, 3), (96, 82), (48, 41), (22, 20, 3, 2)),
    ],
)
def test_boxes_move_to_the_image_grid(
    box: tuple[int, ...], raster: tuple[int, int], matrix: tuple[int, int], expected: tuple[int, ...]
) -> None:
    moved = cohort_knee.box_on_grid(Finding("x", *box, 1.0), raster, matrix)
    n = matrix[1]
    low = (box[0] - 0.5 - raster[1] // 2) * n / raster[1] + n // 2
    high = (box[0] + box[2] - 0.5 - raster[1] // 2) * n / raster[1] + n // 2
    assert moved.x - 0.5 <= low + 1e-9 and moved.x + moved.width - 0.5 >= high - 1e-9  # holds the box
    assert moved.width <= np.ceil(high - low) + 1  # and hardly more
    if raster != (96, 82):
        assert (moved.x, moved.y, moved.width, moved.height) == expected


@pytest.mark.parametrize(("ppm", "expected"), [(0.0, -4.34), (2.0, -4.34 + 2.555)])
def test_fat_is_displaced_by_its_shift_and_the_field_over_the_bandwidth(ppm: float, expected: float) -> None:
    """-3.40 ppm at 3 T is -434 Hz, 2 ppm are 255.5 Hz; at 100 Hz a pixel. At 10 MHz a pixel nothing moves."""
    centres = []
    for bandwidth in (1e7, 100.0):
        scanner = small_scanner("one").model_copy(update={"bandwidth_hz_per_pixel": bandwidth})
        spec = small_spec(scanners=(scanner,))
        field = draw_field(std=0.0, constant=ppm, rng=stream(0, "no field"))
        examination = replace(examine(spec, 0), off_resonance_ppm=field)
        fractions = np.zeros((len(TISSUES), 96, 82), np.float32)
        fractions[TISSUES.index("fat"), 44:54, 30:50] = 1
        painted = cohort_knee.PaintedSlice(fractions, ())
        power = np.abs(centred_ifft(receive(spec, examination, painted, "pd", 0.0))[0]) ** 2
        centres.append((power.sum(1) * np.arange(48)).sum() / power.sum())
    assert centres[1] - centres[0] == pytest.approx(expected, abs=0.1)


# ---------------------------------------------------------------- labels, splits, duplicates


# Copied from Annotations/knee.csv of microsoft/fastmri-plus by the phantom's author: blanks as there.
FASTMRI_PLUS = {
    "Meniscus Tear",
    "Ligament - ACL Low Grade sprain",
    "Ligament - ACL High Grade Sprain",
    "Cartilage - Partial Thickness loss/defect",
    "Cartilage - Full Thickness loss/defect",
    "Joint Effusion ",
    "Periarticular cysts",
    "Bone- Subchondral edema",
    "Bone-Fracture/Contusion/dislocation",
}


def test_labels_are_those_of_fastmri_plus_and_the_label_map_applies(made: Path) -> None:
    with (made / "Annotations" / "knee.csv").open(newline="") as file:
        labels = {row["label"] for row in csv.DictReader(file)}
    assert labels and labels <= FASTMRI_PLUS and set(LABELS) <= FASTMRI_PLUS
    annotations = read_annotations(made / "Annotations" / "knee.csv")
    read = read_file_list(made / "Annotations" / "knee_file_list.csv")
    assert sorted(read) == [path.stem for path in sorted(volumes(made), key=lambda path: path.stem)]
    labelled = label_slices(annotations, read, load_label_map("fastmri_plus_knee_4way"), dict.fromkeys(read, 2))
    assert labelled.positive
    for (stem, index), vector in labelled.positive.items():
        with_pd = stem, index
        number = int(stem.removeprefix("file"))
        twin = f"file{number + 1 if number % 2 == 0 else number - 1}", index
        assert labelled.positive[twin] == vector == labelled.positive[with_pd]  # one knee, two contrasts


def test_no_patient_is_in_two_splits(made: Path) -> None:
    split = split_dataset(load_manifest("phantom_knee"), made, keep_distributor=True)  # raises where one is
    assert split.n_patients == {"train": 3, "val": 1, "test": 1}
    files_of = {}
    for row in split.rows:
        files_of.setdefault(row.patient_key, []).append(row.acquisition)
    assert all(sorted(found) == ["CORPDFS_FBK", "CORPD_FBK"] for found in files_of.values())


def test_no_image_is_a_near_duplicate_of_another_patients() -> None:
    """And the detector works: the same knee without its lesions, in other noise, is found."""
    spec = cohort_spec(anatomy="knee", n_patients={"train": 10, "val": 0, "test": 2}, n_slices=8)
    details: dict[int, list[np.ndarray]] = {}
    for patient in range(12):
        examination = examine(spec, patient)
        twin = replace(examination, subject=examination.subject.without_lesions())
        details[patient] = [
            fine_detail(spec, who, rng=stream(patient, "noise", i)) for i, who in enumerate((examination, twin))
        ]
    across = [float(details[a][0] @ details[b][0]) for a in range(12) for b in range(a)]
    again = [float(first @ second) for first, second in details.values()]
    # on the whole default cohort the largest of 144,000 pairs is 0.74
    assert max(across) < 0.75 < min(again)


def fine_detail(spec: CohortSpec, examination: Any, *, rng: np.random.Generator) -> np.ndarray:
    """A slice of an examination, noise included, as a unit vector of its detail: intensity and shading are gone."""
    position = float(cohort_knee.slice_positions(examination.subject, spec.n_slices, spec.plane)[3])
    kspace = receive(spec, examination, paint_slice(spec, examination, position), "pd", position)
    kspace = kspace + correlated_noise(kspace.shape, 2 * 0.01**2 * examination.array.noise_covariance, rng=rng)
    image = rss(centred_ifft(kspace))
    detail = (gaussian_filter(image, 0.7) - gaussian_filter(image, 1.5)).ravel()
    return detail / np.linalg.norm(detail)


# ---------------------------------------------------------------- brain


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cohort") / "heads"
    cohort.make_cohort(brain_spec(), folder)
    return folder


def brain_spec() -> CohortSpec:
    return cohort_spec(
        anatomy="brain",
        n_patients={"train": 1, "val": 0, "test": 1},
        n_slices=3,
        plane="axial",
        fov_mm=(240.0, 240.0),
        slice_thickness_mm=5.0,
        contrasts=("t1", "t1ce", "t2", "flair"),
        scanners=(small_scanner("one"),),
        lesions="glioma",
    )


def test_heads_are_brats_cases_and_fastmri_files_of_the_same_patients(heads: Path) -> None:
    report = verify_dataset(load_manifest("phantom_brain"), heads, deep=True)
    assert not [finding for finding in report.findings if finding.severity == "error"]
    found = {path.name.split("_")[2] for path in volumes(heads)}
    assert found == {"AXT1", "AXT1POST", "AXT2", "AXFLAIR"}
    split = split_dataset(load_manifest("phantom_brain"), heads)
    assert {row.patient_key for row in split.rows} == {"00000", "00001"}
    assert sum(row.patient_key == "00001" for row in split.rows) == 4 + 5  # HDF5 and NIfTI go together


def test_brats_volumes_have_one_grid_with_the_anatomy_where_the_affine_says(heads: Path) -> None:
    for case in sorted((heads / "TrainingData").iterdir()):
        parts = {path.name.split("-")[-1].split(".")[0]: nibabel.load(path) for path in case.iterdir()}
        assert set(parts) == {"t1n", "t1c", "t2w", "t2f", "seg"}
        labels = np.asarray(parts["seg"].dataobj)
        assert set(np.unique(labels)) <= {0, 1, 2, 3} and labels.any()
        for image in parts.values():
            assert image.shape == (41, 48, 3)
            np.testing.assert_array_equal(image.affine, parts["seg"].affine)
            assert nibabel.aff2axcodes(image.affine) == ("L", "P", "S")
        brain = np.asarray(parts["t2w"].dataobj) > 0
        centre = nibabel.affines.apply_affine(parts["t2w"].affine, np.argwhere(brain).mean(0))
        assert abs(centre[0]) < 12 and -45 < centre[1] < 5  # in the midline, about the middle of the head
        enhancing = labels == 3
        if enhancing.sum() > 5:
            before, after = (np.asarray(parts[role].dataobj)[enhancing].mean() for role in ("t1n", "t1c"))
            gains = [np.asarray(parts[role].dataobj)[brain & (labels == 0)].mean() for role in ("t1n", "t1c")]
            assert after / gains[1] > 1.15 * before / gains[0]
        assert (brain & (labels > 0)).sum() > 0.8 * (labels > 0).sum()


# ---------------------------------------------------------------- cache


def test_the_default_cohort_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRISIM_CACHE", str(tmp_path))
    spec, lines = small_spec(n_patients={"train": 1, "val": 0, "test": 0}, contrasts=("pd",)), list[str]()
    folder = default_cohort(announce=lines.append, spec=spec, n_workers=1)
    assert folder == cached_path(spec) and folder.is_relative_to(tmp_path)
    assert len(lines) == 1 and "MB" in lines[0] and str(folder) in lines[0] and " s on 1 worker" in lines[0]
    assert default_cohort(announce=lines.append, spec=spec) == folder and len(lines) == 1
    (cached,) = cached_cohorts()
    assert cached.complete and cached.n_bytes == sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file()
    )
    assert clear_cache() == (1, cached.n_bytes) and not folder.exists()


def test_the_default_spec_is_the_one_of_the_pilot() -> None:
    spec = default_spec()
    assert (spec.n_patients.train, spec.n_patients.val, spec.n_patients.test) == (480, 60, 100)
    assert spec.n_slices == 8 and spec.scanners[0].matrix == (96, 96) and spec.scanners[0].n_coils == 4
    assert spec.contrasts == ("pd",)


def test_the_size_is_known_beforehand(made: Path) -> None:
    actual = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    assert actual < small_spec().bytes_per_patient * 5


# ---------------------------------------------------------------- refusals


def test_another_cohort_or_other_files_are_never_overwritten(made: Path, tmp_path: Path) -> None:
    before = tree(made)
    with pytest.raises(DataError, match="holds another cohort"):
        cohort.make_cohort(small_spec(seed=8), made)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not ours"):
        cohort.make_cohort(small_spec(), tmp_path, overwrite=True)
    with pytest.raises(DataError, match="is a file"):
        cohort.make_cohort(small_spec(), tmp_path / "notes.txt")
    assert tree(made) == before and (tmp_path / "notes.txt").read_text() == "mine"


def test_overwrite_replaces_a_cohort_and_nothing_else(tmp_path: Path) -> None:
    one = small_spec(n_patients={"train": 2, "val": 0, "test": 0}, n_slices=1, contrasts=("pd",))
    cohort.make_cohort(one, tmp_path / "c")
    (tmp_path / "c" / "notes.txt").write_text("mine")
    other = one.model_copy(update={"n_patients": split_sizes("1/0/0")})
    cohort.make_cohort(other, tmp_path / "c", overwrite=True)
    assert len(volumes(tmp_path / "c")) == 1 and (tmp_path / "c" / "notes.txt").exists()


def test_no_room_is_refused_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _path: SimpleNamespace(free=100_000))
    with pytest.raises(DataError, match=r"no room: about .* MB are needed, 0 MB are free; nothing was written"):
        cohort.make_cohort(small_spec(), tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_two_runs_never_write_to_one_folder(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with cohort._locked(tmp_path / "c", False), pytest.raises(DataError, match="another run is writing"):
        cohort.make_cohort(small_spec(), tmp_path / "c")


def test_a_damaged_description_is_named(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").write_text("{")
    with pytest.raises(DataError, match=r"dataset.json in .* is damaged"):
        cohort.make_cohort(small_spec(), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_patients": {"train": 0, "val": 0, "test": 0}}, "zero patients"),
        ({"n_slices": 0}, "n_slices"),
        ({"contrasts": ("flair",)}, "'flair' is none of the knee; expected pd, pdfs"),
        ({"contrasts": ("pd", "pd")}, "named twice"),
        ({"plane": "axial"}, "sagittal or coronal"),
        ({"seed": -1}, "seed"),
        ({"patients": 3}, "patients: Extra inputs"),
        ({"generator": "0"}, "generator"),
        ({"fov_mm": (140.0, float("nan"))}, "fov_mm"),
    ],
)
def test_impossible_requests_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        small_spec(**changes)


def test_a_field_strength_without_cited_values_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no opened source gives .* at 7 T"):
        cohort.make_cohort(small_spec(scanners=(small_scanner("seven", 3, 7.0),)), tmp_path / "c")
    with pytest.raises(ConfigError, match=r"no virtual scanner at 7 T; expected 1\.5, 3"):
        choose_scanners([7.0])
    with pytest.raises(ConfigError, match="no virtual scanner 'aera'"):
        choose_scanners([], names=["aera"])
    assert not (tmp_path / "c").exists()


def test_scanners_and_sizes_are_chosen_as_asked() -> None:
    assert [one.name for one in choose_scanners([])] == [SCANNERS[0].name]
    assert {one.field_strength_t for one in choose_scanners([1.5, 3.0])} == {1.5, 3.0}
    assert all(one.matrix == (64, 64) and one.n_coils == 6 for one in choose_scanners([1.5], matrix=64, n_coils=6))
    assert split_sizes("480/60/100").total == 640
    assert (split_sizes("20").train, split_sizes("20").val, split_sizes("20").test) == (15, 2, 3)
    for text in ("0", "0/0/0", "-1", "3/4", "many"):
        with pytest.raises(ConfigError):
            split_sizes(text)
    with pytest.raises(ConfigError, match="matrix"):
        choose_scanners([], matrix=4)
