"""A real head from a file: Colin27's tissue maps are plausible, and what is no T1-weighted head is refused."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from mrisim.errors import DataError
from mrisim.phantoms import brain
from mrisim.phantoms.anatomy_file import TemplateAnatomy, anatomy_from_file
from mrisim.phantoms.brain_anatomy import INDEX

TEMPLATES = Path("/usr/share/mricron/templates")
needs_colin = pytest.mark.skipif(
    not (TEMPLATES / "ch2.nii.gz").exists(), reason="needs the Debian package mricron-data (Colin27)"
)


@pytest.fixture(scope="module")
def colin() -> TemplateAnatomy:
    return anatomy_from_file(TEMPLATES / "ch2.nii.gz")


@needs_colin
def test_colin27_has_plausible_volumes_and_agrees_with_its_own_brain_mask(colin: TemplateAnatomy) -> None:
    volumes = colin.volumes_ml()
    assert 600 < volumes["grey_matter"] < 950
    assert 450 < volumes["white_matter"] < 800
    assert 150 < volumes["csf"] < 650
    assert max(float(total.max()) for total in colin.maps.astype(np.float32).sum(0)) <= 1.01
    mask = nibabel.load(TEMPLATES / "ch2bet.nii.gz").get_fdata() > 0
    parenchyma = sum(
        colin.maps[colin.present.index(INDEX[n])].astype(np.float32) for n in ("grey_matter", "white_matter")
    )
    assert isinstance(parenchyma, np.ndarray)
    inside = parenchyma > 0.5
    assert (inside & mask).sum() > 0.97 * inside.sum()
    assert (inside & mask).sum() > 0.75 * mask.sum()


@needs_colin
def test_contrast_of_the_rendered_t1_is_that_of_the_file(colin: TemplateAnatomy) -> None:
    fluid, grey, white = colin.intensity_means
    assert fluid < grey < white
    subject = brain.draw_subject(rng=np.random.Generator(np.random.Philox(2)), lesions="none", anatomy=colin)
    for field in (1.5, 3.0):
        rendered = brain.render_slice(subject, position_mm=12.0, contrast="t1", field_strength_t=field)
        level = [
            float(np.median(rendered.water[rendered.tissue_fractions[INDEX[n]] > 0.8]))
            for n in ("csf", "grey_matter", "white_matter")
        ]
        assert level[0] < level[1] < level[2]
        assert level[1] / level[2] == pytest.approx(grey / white, abs=0.1)


@needs_colin
def test_lesions_are_painted_on_a_real_anatomy(colin: TemplateAnatomy) -> None:
    subject = brain.draw_subject(rng=np.random.Generator(np.random.Philox(3)), lesions="glioma", anatomy=colin)
    rendered = brain.render_slice(
        subject, position_mm=subject.lesions[0].centre_mm[2], contrast="flair", matrix=(97, 81)
    )
    assert rendered.segmentation.any()
    assert "Mass" in [finding.label for finding in rendered.findings]


def test_what_is_no_t1_weighted_head_is_refused(tmp_path: Path) -> None:
    rng = np.random.Generator(np.random.Philox(1))

    def save(name: str, data: np.ndarray, step: float = 1.0) -> Path:
        nibabel.save(nibabel.Nifti1Image(data, np.diag((step, step, step, 1.0))), tmp_path / name)
        return tmp_path / name

    with pytest.raises(DataError, match=r"labels\.nii: 7 distinct whole numbers, a label map"):
        regions = np.kron(rng.integers(0, 7, (6, 6, 6)), np.ones((8, 8, 8)))
        anatomy_from_file(save("labels.nii", regions.astype(np.uint8)))
    with pytest.raises(DataError, match="4-D"):
        anatomy_from_file(save("series.nii", rng.random((48, 48, 48, 3)).astype(np.float32)))
    with pytest.raises(DataError, match=r"at most 2\.5 mm"):
        anatomy_from_file(save("coarse.nii", rng.random((48, 48, 48)).astype(np.float32), 4.0))
    with pytest.raises(DataError, match="found a brain of"):
        anatomy_from_file(save("noise.nii", rng.random((48, 48, 48)).astype(np.float32)))
    with pytest.raises(DataError, match="not finite"):
        anatomy_from_file(save("holes.nii", np.full((48, 48, 48), np.nan, np.float32)))
    (tmp_path / "text.nii").write_text("no image")
    with pytest.raises(DataError, match="cannot be read as NIfTI"):
        anatomy_from_file(tmp_path / "text.nii")
    with pytest.raises(DataError, match="cannot be read as NIfTI"):
        anatomy_from_file(tmp_path / "absent.nii")
