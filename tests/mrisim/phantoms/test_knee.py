"""The procedural knee: one continuous subject behind all slices, plausible anatomy, lesions where the boxes say."""

from dataclasses import replace

import numpy as np
import pytest

from mrisim.phantoms import knee
from mrisim.phantoms.canvas import Deformation
from mrisim.phantoms.knee_lesions import (
    LABELS,
    AclTear,
    CartilageDefect,
    Cyst,
    Effusion,
    Lesion,
    MarrowEdema,
    MeniscusTear,
)

FOV_MM = 140.0


def draw(seed: int) -> knee.Subject:
    return knee.draw_subject(rng=np.random.Generator(np.random.Philox(seed)))


def straight(subject: knee.Subject) -> knee.Subject:
    """Return the subject without pose: knee coordinates are scanner coordinates."""
    still = Deformation(np.eye(3), np.zeros(3), np.zeros((1, 3)), np.zeros(1), np.zeros((1, 3)))
    return replace(subject, deformation=still, laterality="left")


def area_mm2(rendered: knee.KneeSlice, *names: str) -> float:
    pixels = sum(float(rendered.tissue_fractions[rendered.tissues.index(name)].sum()) for name in names)
    return pixels * FOV_MM**2 / rendered.water.size


def blocks(image: np.ndarray, factor: int) -> np.ndarray:
    rows, columns = image.shape
    return image.reshape(rows // factor, factor, columns // factor, factor).mean((1, 3))


def test_a_seed_fixes_the_subject_and_its_slices() -> None:
    first, second, other = draw(3), draw(3), draw(4)
    a, b, c = (knee.render_slice(s, plane="sagittal", position_mm=4.0, matrix=(64, 48)) for s in (first, second, other))
    np.testing.assert_array_equal(a.water, b.water)
    np.testing.assert_array_equal(a.fat, b.fat)
    assert a.findings == b.findings
    assert not np.allclose(a.water, c.water)


@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_tissue_fractions_are_a_partition_of_at_most_one(plane: knee.Plane) -> None:
    for seed in range(3):
        subject = draw(seed)
        for position in knee.slice_positions(subject, 3, plane):
            rendered = knee.render_slice(subject, plane=plane, position_mm=position, matrix=(96, 96))
            assert rendered.tissue_fractions.min() >= -1e-6
            assert rendered.tissue_fractions.sum(0).max() <= 1 + 1e-5
            assert rendered.water.dtype == rendered.fat.dtype == np.float32


def test_areas_of_tissues_are_plausible_and_vary() -> None:
    sections = [
        knee.render_slice(draw(seed).without_lesions(), plane="coronal", position_mm=2.0, matrix=(128, 128))
        for seed in range(8)
    ]
    marrow = np.array([area_mm2(s, "marrow") for s in sections])
    leg = np.array([float((s.tissue_fractions.sum(0) > 0.5).mean()) * FOV_MM**2 for s in sections])
    cartilage = np.array([area_mm2(s, "cartilage") for s in sections])
    meniscus = np.array([area_mm2(s, "meniscus") for s in sections])
    assert np.all((leg > 110 * 130) & (leg <= 140 * 140))  # a leg 11 to 14 cm wide
    assert np.all((marrow > 4000) & (marrow < 10000))  # epiphyses about 8 cm wide
    assert np.all((cartilage > 150) & (cartilage < 700))  # two layers of 2 to 3 mm over two condyles
    assert np.all((meniscus > 15) & (meniscus < 250))
    assert np.ptp(cartilage) > 0.1 * cartilage.mean()


def test_planes_of_one_subject_agree_where_they_cross() -> None:
    subject = draw(12)
    matrix = (280, 280)  # pixels of 0.5 mm; thin slices, so that both sample the same line
    x_mm, z_mm = 2.25, -21.75
    sagittal = knee.render_slice(subject, plane="sagittal", position_mm=z_mm, thickness_mm=0.1, matrix=matrix)
    coronal = knee.render_slice(subject, plane="coronal", position_mm=x_mm, thickness_mm=0.1, matrix=matrix)
    column = round((x_mm - knee.CENTRE_MM[0]) / 0.5 + 139.5)
    side = -1 if subject.laterality == "right" else 1
    other = round(side * (z_mm - knee.CENTRE_MM[2]) / 0.5 + 139.5)
    a, b = (s.water + s.fat for s in (sagittal, coronal))
    assert np.corrcoef(a[:, column], b[:, other])[0, 1] > 0.95
    assert np.mean(np.abs(a[:, column] - b[:, other])) < 0.03 * a.max()


def test_a_right_knee_is_the_mirror_image_of_a_left_one() -> None:
    left = straight(draw(5))
    right = replace(left, laterality="right")
    a, b = (knee.render_slice(s, plane="coronal", position_mm=3.0, matrix=(64, 90)) for s in (left, right))
    np.testing.assert_allclose(a.water, b.water[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("plane", ["sagittal", "coronal"])
def test_a_finer_raster_converges(plane: knee.Plane) -> None:
    subject = draw(7)
    images = {}
    for n in (60, 120, 240, 480):
        rendered = knee.render_slice(subject, plane=plane, position_mm=1.0, matrix=(n, n))
        images[n] = blocks(rendered.water + rendered.fat, n // 60)
    errors = [float(np.linalg.norm(images[n] - images[480]) / np.linalg.norm(images[480])) for n in (60, 120, 240)]
    assert errors[2] < 0.03
    assert errors[2] < errors[1] < errors[0]


@pytest.mark.parametrize("matrix", [(97, 64), (33, 51), (128, 127)])
def test_any_matrix_and_field_of_view(matrix: tuple[int, int]) -> None:
    for plane in ("sagittal", "coronal"):
        rendered = knee.render_slice(draw(1), plane=plane, position_mm=0.0, matrix=matrix, fov_mm=(150.0, 118.0))
        assert rendered.water.shape == matrix
        assert np.isfinite(rendered.water).all()


def test_a_thick_slice_is_the_mean_of_its_sub_slices() -> None:
    subject = draw(8).without_lesions()
    thick = knee.render_slice(subject, plane="sagittal", position_mm=10.0, thickness_mm=4.0, matrix=(80, 80))
    thin = [
        knee.render_slice(subject, plane="sagittal", position_mm=p, thickness_mm=1e-3, matrix=(80, 80))
        for p in (9.0, 11.0)
    ]
    mean = (thin[0].water + thin[1].water) / 2
    # Texture is sampled at the slice centre only, and it is of the order of a per cent of the signal.
    assert np.mean(np.abs(thick.water - mean)) < 0.02 * thick.water.max()


def test_fat_saturation_removes_fat_and_nothing_else_of_it() -> None:
    subject = draw(9)
    pd, pdfs = (
        knee.render_slice(subject, plane="coronal", position_mm=2.0, matrix=(96, 96), contrast=c)
        for c in ("pd", "pdfs")
    )
    assert 0 < pdfs.fat.sum() < 0.05 * pd.fat.sum()
    assert pdfs.water.sum() > 0.5 * pd.water.sum()


def examples(subject: knee.Subject) -> dict[str, Lesion]:
    """One clearly visible lesion of each kind, placed for this subject."""
    shape = subject.shape
    return {
        "meniscus": MeniscusTear(0.9, False, "horizontal", 0.75, 0.6),
        "acl": AclTear(0.9, True, 0.5, False),
        "cartilage": CartilageDefect(0.39, "femur", (3.0, 0.0, -22.0), 13.0),
        "patella": CartilageDefect(0.9, "patella", (shape.patella_x_mm + 9.5, shape.patella_y_mm, 3.0), 13.0),
        "effusion": Effusion(0.8),
        "cyst": Cyst(0.9, (35.0, 0.0, -19.0), 8.0),
        "edema": MarrowEdema(0.9, (2.0, -8.0, -20.0), 11.0, fracture=False),
        "fracture": MarrowEdema(0.9, (2.0, 12.0, 22.0), 11.0, fracture=True),
    }


POSITIONS = {
    "meniscus": -20,
    "acl": 3,
    "cartilage": -22,
    "patella": 3,
    "effusion": 2,
    "cyst": -19,
    "edema": -20,
    "fracture": 22,
}


@pytest.mark.parametrize("kind", POSITIONS)
@pytest.mark.parametrize("seed", [0, 6])
def test_a_lesion_brightens_fluid_inside_its_box(kind: str, seed: int) -> None:
    healthy = straight(draw(seed)).without_lesions()
    lesion = examples(healthy)[kind]
    twin, rendered = (
        knee.render_slice(s, plane="sagittal", position_mm=POSITIONS[kind], matrix=(200, 200), contrast="pdfs")
        for s in (healthy, healthy.with_lesions(lesion))
    )
    assert twin.findings == ()
    assert [f.label for f in rendered.findings] == [lesion.label]
    box = rendered.findings[0]
    rows, columns = slice(box.y, box.y + box.height), slice(box.x, box.x + box.width)
    change = rendered.water - twin.water
    assert change[rows, columns].mean() > 0.004
    # What the lesion adds lies in its box; an effusion's film reaches out of it, as does the marrow halo of a
    # cartilage defect above conspicuity 0.4, which is why this one stays below.
    inside = np.abs(change[rows, columns]).sum() / np.abs(change).sum()
    assert inside > (0.5 if kind == "effusion" else 0.8)


def test_conspicuity_grades_the_change() -> None:
    healthy = straight(draw(2)).without_lesions()
    changes = []
    for c in (0.1, 0.4, 0.7, 1.0):
        tear = MeniscusTear(c, False, "horizontal", 0.75, 0.6)
        twin, torn = (
            knee.render_slice(s, plane="sagittal", position_mm=-20.0, matrix=(160, 160))
            for s in (healthy, healthy.with_lesions(tear))
        )
        changes.append(float(np.abs(torn.water - twin.water).sum()))
    assert changes == sorted(changes)
    assert changes[-1] > 3 * changes[0]


def test_a_lesion_is_labelled_only_where_it_is_seen() -> None:
    subject = straight(draw(2)).with_lesions(MeniscusTear(0.9, False, "horizontal", 0.75, 0.6))
    here = knee.render_slice(subject, plane="sagittal", position_mm=-20.0, matrix=(128, 128))
    there = knee.render_slice(subject, plane="sagittal", position_mm=20.0, matrix=(128, 128))
    assert len(here.findings) == 1
    assert there.findings == ()


def test_boxes_lie_inside_the_image_and_labels_are_published_ones() -> None:
    seen: set[str] = set()
    for seed in range(25):
        subject = draw(seed)
        for position in knee.slice_positions(subject, 8, "sagittal"):
            rendered = knee.render_slice(subject, plane="sagittal", position_mm=position, matrix=(96, 80))
            for finding in rendered.findings:
                assert finding.label in LABELS
                assert finding.x >= 0 and finding.width > 0 and finding.x + finding.width <= 80
                assert finding.y >= 0 and finding.height > 0 and finding.y + finding.height <= 96
                seen.add(finding.label)
    assert {"Meniscus Tear", "Joint Effusion ", "Ligament - ACL High Grade Sprain"} <= seen


def test_boxes_scale_with_the_raster() -> None:
    subject = straight(draw(2)).with_lesions(Cyst(0.9, (35.0, 0.0, -19.0), 8.0))
    coarse, fine = (
        knee.render_slice(subject, plane="sagittal", position_mm=-19.0, matrix=(n, n)).findings[0] for n in (100, 200)
    )
    for a, b in ((coarse.x, fine.x), (coarse.y, fine.y), (coarse.width, fine.width), (coarse.height, fine.height)):
        assert abs(2 * a - b) <= 4


def test_slice_positions_cover_the_joint_evenly() -> None:
    subject = draw(0)
    positions = knee.slice_positions(subject, 8, "sagittal")
    assert np.allclose(np.diff(positions), 9.0)
    assert positions.min() < -25 and positions.max() > 25


def test_unknown_requests_are_refused_by_name() -> None:
    subject = draw(0)
    with pytest.raises(ValueError, match="plane is 'axial'"):
        knee.render_slice(subject, plane="axial", position_mm=0.0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="contrast is 't1'; expected one of pd, pdfs"):
        knee.render_slice(subject, plane="sagittal", position_mm=0.0, contrast="t1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no opened source gives t1_ms of .* at 7 T"):
        knee.render_slice(subject, plane="sagittal", position_mm=0.0, field_strength_t=7.0)
