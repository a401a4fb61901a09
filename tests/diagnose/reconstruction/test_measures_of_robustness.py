"""Effective robustness, similarity and SSIM of findings in closed form."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from diagnose.networks.unet import ImageScaled, unet
from diagnose.networks.varnet import varnet
from diagnose.reconstruction.evaluation_figures import points_of_p_alone
from diagnose.reconstruction.evaluation_results import CellSummary, EvaluationTables
from diagnose.reconstruction.pathology import Box, boxes_in, crop_ssim, is_small, read_boxes
from diagnose.reconstruction.robustness import expected_quality
from diagnose.reconstruction.similarity import encoder_of, features, nearest_similarity
from mrisim.errors import DataError


def test_robustness_is_measured_from_the_line_along_q():
    on_p = np.array([0.6, 0.7, 0.8, 0.9])
    offsets = 0.01 * np.array([1, -1, -1, 1])  # no slope and no mean of their own
    line = expected_quality(on_p, 0.5 * on_p + 0.1 + offsets)
    assert (line.slope, line.intercept) == pytest.approx((0.5, 0.1))
    assert line.residual_std == pytest.approx(np.sqrt(4e-4 / 2))
    assert line.effective_robustness(np.array([0.9]), np.array([0.7])) == pytest.approx([0.7 - 0.55])
    with pytest.raises(ValueError, match="two of them different on P"):
        expected_quality(np.array([0.5, 0.5]), np.array([0.1, 0.2]))


def test_the_nearest_training_image_counts_and_intensity_does_not():
    rng = np.random.default_rng(0)
    encoder = encoder_of(ImageScaled(unet(seed=0)))
    assert encoder is not None and encoder_of(varnet(seed=0, n_cascades=1)) is None
    images = rng.random((5, 32, 48))
    vectors = features(encoder, images)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert features(encoder, 1e-4 * images + 3e-4) == pytest.approx(vectors, abs=1e-3)
    near = nearest_similarity(vectors[:3], vectors)
    assert near[:3] == pytest.approx(np.ones(3), abs=1e-5) and (near[3:] < 0.999).all()
    assert near[3] == pytest.approx(max(vectors[3] @ vectors[k] for k in range(3)))
    assert features(encoder, images[:, :, ::-1].copy())[0] @ vectors[0] < 0.999  # where features lie counts


def test_the_ssim_of_a_finding_is_that_of_its_crop_with_the_volumes_range():
    rng = np.random.default_rng(1)
    targets = rng.random((2, 30, 25))
    images = targets + 0.1 * rng.normal(size=targets.shape)
    targets[0, 0, 0] = 5.0
    box = Box(1, top=4, left=9, height=12, width=8, label="")
    crops = [volume[1, 4:16, 9:17] for volume in (images, targets)]
    expected = structural_similarity(*crops, win_size=7, data_range=5.0)
    assert crop_ssim(images, targets, box) == pytest.approx(expected, abs=1e-9)


def test_a_box_smaller_than_the_window_is_stretched_to_it():
    rng = np.random.default_rng(2)
    targets, images = rng.random((1, 20, 20)), rng.random((1, 20, 20))
    box = Box(0, top=3, left=5, height=3, width=9, label="")

    def stretched(volume):
        crop = torch.from_numpy(volume[0, 3:6, 5:14])[None, None]
        return torch.nn.functional.interpolate(crop, size=(7, 9), mode="bilinear", align_corners=False)[0, 0].numpy()

    expected = structural_similarity(
        stretched(images), stretched(targets), win_size=7, data_range=float(targets.max())
    )  # fmt: skip
    assert crop_ssim(images, targets, box) == pytest.approx(expected, abs=1e-9)


def test_boxes_are_read_from_the_flipped_image(tmp_path):
    (tmp_path / "knee" / "Annotations").mkdir(parents=True)
    table = "file,slice,study_level,x,y,width,height,label\n"
    (tmp_path / "knee" / "Annotations" / "knee.csv").write_text(
        table + "f,1,No,5,2,4,3,Cyst \nf,0,Yes,0,0,0,0,artifact\ng,0,No,28,0,5,2,Mass\nh,0,No,40,0,3,2,Mass\n"
    )
    (tmp_path / "knee" / "Annotations" / "knee_file_list.csv").write_text("f\ng\n")
    boxes = read_boxes(tmp_path)
    shape = (2, 20, 30)
    (cyst,) = boxes_in(boxes, "f", shape)
    assert cyst == Box(1, top=15, left=5, height=3, width=4, label="Cyst")
    flipped = np.zeros(shape[1:])
    flipped[2:5, 5:9] = 1
    assert flipped[::-1][cyst.top : cyst.top + 3, 5:9].all()
    assert boxes_in(boxes, "g", shape) == [Box(0, top=18, left=28, height=2, width=2, label="Mass")]
    assert boxes_in(boxes, "none", shape) == []
    with pytest.raises(DataError, match="of h, slice 0, lies outside"):
        boxes_in(boxes, "h", shape)
    assert is_small(Box(0, 0, 0, 2, 3, ""), shape) and not is_small(Box(0, 0, 0, 2, 4, ""), shape)


def test_the_points_beside_a_line_are_of_its_own_network():
    cells = [
        CellSummary(run, "p", name, "clean", 0, "output", "ssim", 12, mean, None, None, None, None, None)
        for run, values in {"u0": (0.9, 0.5), "u1": (0.8, 0.4), "v0": (0.7, 0.6)}.items()
        for name, mean in zip("pq", values, strict=True)
    ]
    networks = {"u0": "unet-xsmall", "u1": "unet-xsmall", "v0": "varnet-xsmall"}
    tables = EvaluationTables((), tuple(cells), (), (), (), (), {}, networks)
    assert points_of_p_alone(tables, "unet-xsmall", "p", "q") == ([0.9, 0.8], [0.5, 0.4])
    assert points_of_p_alone(tables, "varnet-xsmall", "p", "q") == ([0.7], [0.6])
