"""The procedural head: one continuous subject, plausible volumes, contrasts in the right order, lesions that nest."""

import base64
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mrisim.phantoms import brain, brain_signal
from mrisim.phantoms.brain_anatomy import INDEX, TISSUES
from mrisim.phantoms.brain_lesions import LABELS, Glioma, WhiteMatterLesion
from mrisim.phantoms.canvas import Deformation

ODIN_SAMPLE = Path("/usr/share/odin/samples/brain_128x128.smp")
GLIOMA = Glioma(0.8, (28.0, -25.0, 28.0), (16.0, 14.0, 15.0), 5.0, 12.0, 0.6, 0.3, 5.0)
FOCUS = WhiteMatterLesion(0.9, (24.0, -20.0, 30.0), (4.0, 4.0, 4.0), 3.0)


def draw(seed: int, lesions: brain.LesionMix = "none") -> brain.BrainSubject:
    return brain.draw_subject(rng=np.random.Generator(np.random.Philox(seed)), lesions=lesions)


def pure(rendered: brain.BrainSlice, name: str, least: float = 0.9) -> float:
    """Median signal of samples that are nearly all one tissue."""
    chosen = rendered.tissue_fractions[INDEX[name]] > least
    assert chosen.sum() > 20, f"no pure {name} in this slice"
    return float(np.median(np.abs(rendered.water + rendered.fat)[chosen]))


def test_a_seed_fixes_the_subject_and_its_slices() -> None:
    a, b, c = (brain.render_slice(draw(seed, "random"), position_mm=12.0, matrix=(64, 48)) for seed in (3, 3, 4))
    np.testing.assert_array_equal(a.water, b.water)
    np.testing.assert_array_equal(a.segmentation, b.segmentation)
    assert a.findings == b.findings
    assert not np.allclose(a.water, c.water)


@pytest.mark.parametrize(("plane", "position_mm"), [("axial", 10.0), ("sagittal", 12.0), ("coronal", -15.0)])
def test_fractions_are_a_partition_on_odd_and_oblong_rasters(plane: brain.Plane, position_mm: float) -> None:
    subject = draw(5).with_lesions(GLIOMA, FOCUS)
    rendered = brain.render_slice(subject, plane=plane, position_mm=position_mm, matrix=(85, 63), fov_mm=(240.0, 200.0))
    assert rendered.water.shape == rendered.fat.shape == rendered.segmentation.shape == (85, 63)
    assert rendered.water.dtype == rendered.fat.dtype == np.float32
    assert rendered.segmentation.dtype == np.uint8
    assert rendered.tissue_fractions.min() >= -1e-5
    assert rendered.tissue_fractions.sum(0).max() <= 1 + 1e-4


def test_planes_of_one_subject_agree_where_they_cross() -> None:
    subject = draw(6)
    grid = {"thickness_mm": 1.0, "matrix": (96, 96), "fov_mm": (192.0, 192.0), "n_subslices": 1}
    x, y, z = 11.0, -16.0, 18.0  # pixel centres of the other planes: CENTRE_MM +- 2 (k + 1/2)
    axial = brain.render_slice(subject, plane="axial", position_mm=z, **grid).tissue_fractions  # type: ignore[arg-type]
    sagittal = brain.render_slice(subject, plane="sagittal", position_mm=x, **grid).tissue_fractions  # type: ignore[arg-type]
    coronal = brain.render_slice(subject, plane="coronal", position_mm=y, **grid).tissue_fractions  # type: ignore[arg-type]
    column_x, row_y, row_z = round(47.5 - x / 2), round(47.5 - (y + 17) / 2), round(47.5 - (z - 5) / 2)
    np.testing.assert_allclose(axial[:, :, column_x], sagittal[:, row_z, :], atol=2e-3)
    np.testing.assert_allclose(axial[:, row_y, :], coronal[:, row_z, :], atol=2e-3)


def test_volumes_are_those_of_adults_and_follow_atrophy() -> None:
    volumes, atrophy = [], []
    for seed in range(8):
        subject = draw(seed)
        rendered = brain.render_volume(subject, shape=(46, 58, 46), voxel_mm=(4.0, 4.0, 4.0), contrasts=("t1",))
        volumes.append([rendered.volumes_ml[name] for name in ("grey_matter", "white_matter", "csf")])
        atrophy.append(subject.anatomy.atrophy)  # type: ignore[attr-defined]
    grey, white, fluid = np.array(volumes).T
    assert np.all((grey > 600) & (grey < 900)), grey
    assert np.all((white > 400) & (white < 700)), white
    assert np.all((fluid > 180) & (fluid < 500)), fluid
    share = fluid / (grey + white + fluid)
    assert np.corrcoef(share, atrophy)[0, 1] > 0.5


@pytest.mark.parametrize("field_strength_t", [1.5, 3.0])
def test_contrasts_order_tissues_as_readers_expect(field_strength_t: float) -> None:
    subject = draw(9).with_lesions(GLIOMA)
    seen = {
        contrast: brain.render_slice(
            subject, position_mm=24.0, contrast=contrast, field_strength_t=field_strength_t, thickness_mm=1.0
        )
        for contrast in brain.CONTRASTS
    }
    level = {
        contrast: {name: pure(rendered, name) for name in ("csf", "grey_matter", "white_matter")}
        for contrast, rendered in seen.items()
    }
    oedema = {contrast: pure(rendered, "oedema", 0.75) for contrast, rendered in seen.items()}
    rim = {contrast: pure(rendered, "enhancing", 0.75) for contrast, rendered in seen.items()}
    assert level["t1"]["white_matter"] > level["t1"]["grey_matter"] > level["t1"]["csf"]
    assert level["t2"]["csf"] > level["t2"]["grey_matter"] > level["t2"]["white_matter"]
    assert level["flair"]["csf"] < 0.06 * level["flair"]["white_matter"]
    assert oedema["flair"] > 1.4 * level["flair"]["white_matter"]
    assert oedema["t1"] < level["t1"]["white_matter"]
    assert level["t2"]["white_matter"] < oedema["t2"] < level["t2"]["csf"]
    assert rim["t1ce"] > 1.1 * level["t1ce"]["white_matter"]
    assert rim["t1"] < level["t1"]["white_matter"]
    assert rim["t1ce"] > 1.3 * rim["t1"]
    # Outside the enhancing parts the agent changes nothing.
    np.testing.assert_allclose(level["t1"]["white_matter"], level["t1ce"]["white_matter"], rtol=1e-4)


def test_t1_contrast_is_that_of_colin27() -> None:
    """Colin27's histogram peaks in its brain mask: grey 86, white 114; ventricle 30 (ch2, ch2bet of mricron-data)."""
    weights = brain_signal.signal_weights("t1", 1.5, np.ones((3, len(TISSUES))))[0]
    grey_to_white = weights[INDEX["grey_matter"]] / weights[INDEX["white_matter"]]
    fluid_to_white = weights[INDEX["csf"]] / weights[INDEX["white_matter"]]
    assert grey_to_white == pytest.approx(86 / 114, abs=0.06)
    assert fluid_to_white == pytest.approx(30 / 114, abs=0.12)


@pytest.mark.skipif(not ODIN_SAMPLE.exists(), reason="needs the Debian package odin")
def test_measured_maps_give_the_same_order_through_the_same_equations() -> None:
    """odin's T1 map ends at 2000 ms, so its fluid is not nulled; its T2 and density tell grey from white hardly."""
    text = ODIN_SAMPLE.read_text()
    t1, t2, density = (_odin_map(text, name) for name in ("T1map", "T2map", "spinDensity"))
    classes = {
        "white": (t1 > 580) & (t1 < 800) & (t2 > 60) & (t2 < 100),
        "grey": (t1 > 1000) & (t1 < 1600) & (t2 > 70) & (t2 < 130),
        "fluid": (t1 >= 1990) & (t2 > 500),
    }
    found = {
        contrast: {
            name: float(np.median(brain_signal.signal_of(contrast, 1.5, t1[chosen], t2[chosen], density[chosen])))
            for name, chosen in classes.items()
        }
        for contrast in brain.CONTRASTS
    }
    assert found["t1"]["white"] > found["t1"]["grey"] > found["t1"]["fluid"]
    assert found["t2"]["fluid"] > 1.5 * found["t2"]["grey"]
    assert found["t2"]["grey"] > 0.97 * found["t2"]["white"]
    assert 0.5 < found["t1"]["grey"] / found["t1"]["white"] < 0.85


def _odin_map(text: str, name: str) -> np.ndarray:
    block = re.search(rf"##\${name}=\([^)]*\)\nEncoding:[^\n]*\n(.*?)(?=\n##)", text, re.S)
    assert block is not None
    return np.frombuffer(base64.b64decode(block.group(1).replace("\n", "").split("$$")[0]), "<f4").astype(float)


def test_parts_of_a_glioma_nest_and_no_bone_is_replaced() -> None:
    from scipy import ndimage

    subject = draw(9).with_lesions(GLIOMA)
    rendered = brain.render_volume(subject, shape=(92, 115, 70), voxel_mm=(2.0, 2.0, 2.0), contrasts=("t1ce",))
    seg = rendered.segmentation
    assert set(np.unique(seg)) == {0, 1, 2, 3}
    core, whole = np.isin(seg, (1, 3)), seg > 0
    assert whole.sum() > 1.5 * core.sum()
    # The necrotic core lies inside the rim: grown by a voxel it stays in the filled tumour core.
    dead = ndimage.binary_opening(seg == 1)
    assert dead.sum() > 50
    assert (ndimage.binary_dilation(dead) & core).sum() > 0.93 * ndimage.binary_dilation(dead).sum()
    core_ml = float(core.sum()) * 8e-3
    assert core_ml == pytest.approx(4 / 3 * np.pi * 16 * 14 * 15 / 1000, rel=0.45)
    healthy = brain.render_volume(
        subject.without_lesions(), shape=(92, 115, 70), voxel_mm=(2.0, 2.0, 2.0), contrasts=("t1ce",)
    )
    assert not healthy.segmentation.any()
    assert rendered.volumes_ml["cortical_bone"] == pytest.approx(healthy.volumes_ml["cortical_bone"], rel=0.01)
    assert healthy.volumes_ml["enhancing"] == healthy.volumes_ml["oedema"] == 0


def test_mass_effect_moves_brain_but_not_the_skull() -> None:
    from mrisim.phantoms.brain_lesions import push

    points = np.array([[28, -25, 28], [40, -25, 28], [66, -25, 28], [-40, -25, 28]], np.float32).T
    moved = np.array(push((GLIOMA,), *points)).T - points.T
    assert np.linalg.norm(moved[0]) < 1e-5  # the centre stays
    # r (1 - m exp(-(r/s)^2)) with r = 12, m = 0.3, s = twice the mean radius: it came from nearer the centre.
    np.testing.assert_allclose(moved[1], (-0.3 * 12 * np.exp(-((12 / 30) ** 2)), 0, 0), atol=1e-4)
    assert np.linalg.norm(moved[2]) < 0.3  # at the skull
    np.testing.assert_allclose(moved[3], (0.3 * 68 * np.exp(-((68 / 30) ** 2)), 0, 0), atol=1e-4)


def test_boxes_enclose_what_they_name() -> None:
    subject = draw(9).with_lesions(GLIOMA, FOCUS)
    rendered = brain.render_slice(subject, position_mm=28.0, contrast="flair", thickness_mm=2.0)
    by_label = {finding.label: finding for finding in rendered.findings}
    assert set(by_label) <= set(LABELS)
    box = by_label["Mass"]
    rows, columns = np.nonzero(np.isin(rendered.segmentation, (1, 3)))
    assert box.x <= columns.min() and columns.max() < box.x + box.width
    assert box.y <= rows.min() and rows.max() < box.y + box.height
    assert not brain.render_slice(subject.without_lesions(), position_mm=28.0).findings


def test_a_focus_is_boxed_where_it_was_put() -> None:
    still = Deformation(np.eye(3), np.zeros(3), np.zeros((1, 3)), np.zeros(1), np.zeros((1, 3)))
    subject = replace(draw(9), deformation=still).with_lesions(FOCUS)
    rendered = brain.render_slice(subject, position_mm=FOCUS.centre_mm[2], contrast="flair", thickness_mm=2.0)
    (finding,) = rendered.findings
    assert finding.label == "Nonspecific white matter lesion"
    pixel_mm = 240 / 320
    column = 159.5 - FOCUS.centre_mm[0] / pixel_mm  # columns run to the patient's left, rows to the back
    row = 159.5 - (FOCUS.centre_mm[1] - brain.CENTRE_MM[1]) / pixel_mm
    assert abs(finding.x + (finding.width - 1) / 2 - column) < 2.5
    assert abs(finding.y + (finding.height - 1) / 2 - row) < 2.5
    rows, columns = slice(finding.y, finding.y + finding.height), slice(finding.x, finding.x + finding.width)
    healthy = brain.render_slice(
        subject.without_lesions(), position_mm=FOCUS.centre_mm[2], contrast="flair", thickness_mm=2.0
    )
    assert rendered.water[rows, columns].mean() > 1.3 * healthy.water[rows, columns].mean()


def test_drawn_foci_lie_in_white_matter_and_show_in_flair() -> None:
    subject = draw(21, "white_matter")
    assert subject.lesions
    lesion = max(subject.lesions, key=lambda found: found.conspicuity)
    x, y, z = (np.array([c], np.float32) for c in lesion.centre_mm)
    assert subject.anatomy.fractions(x, y, z, 1.0)[INDEX["white_matter"], 0] > 0.5


def test_skull_stripping_leaves_brain_only() -> None:
    grid = {"shape": (46, 58, 46), "voxel_mm": (4.0, 4.0, 4.0), "contrasts": ("t1",)}
    stripped = brain.render_volume(draw(2), **grid)  # type: ignore[arg-type]
    whole = brain.render_volume(draw(2), skull_stripped=False, **grid)  # type: ignore[arg-type]
    assert (stripped.images["t1"] > 0.02).sum() < 0.6 * (whole.images["t1"] > 0.02).sum()
    assert stripped.images["t1"].max() < 0.6 * whole.images["t1"].max()  # no scalp fat
    corner = stripped.affine @ np.array([45, 57, 45, 1.0])
    np.testing.assert_allclose(0.5 * (corner + stripped.affine[:, 3])[:3], brain.CENTRE_MM, atol=1e-9)


def test_refusals_name_what_was_asked() -> None:
    subject = draw(1)
    with pytest.raises(ValueError, match="contrast is 'dwi'"):
        brain.render_slice(subject, position_mm=0.0, contrast="dwi")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="plane is 'oblique'"):
        brain.render_slice(subject, plane="oblique", position_mm=0.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no opened source gives .* at 0\.3 T"):
        brain.render_slice(subject, position_mm=0.0, field_strength_t=0.3)
    with pytest.raises(ValueError, match="lesions is 'stroke'"):
        draw(1, "stroke")  # type: ignore[arg-type]
