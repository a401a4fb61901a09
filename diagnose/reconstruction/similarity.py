"""How near test images are to the nearest training image, in the features of an own encoder.

The third paper takes CLIP's features. Here the encoder is the encoder half of one trained U-Net, the same for all runs
that are compared: the map of its deepest block, pooled to 6 x 6, all channels in one vector. Instance norm has taken
mean and spread out of each channel, so the cosine of two vectors compares where in the image features lie.

Limits
------
The encoder has learnt from some of the images that it compares, and to reconstruct, not to tell images apart. Its
similarities rank; their values mean nothing outside of one encoder.

References
----------
Lin and Heckel, ICML 2024, PMLR 235:30018-30041, arXiv:2312.10271.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from diagnose.networks.unet import ImageScaled, UNet, z_score
from diagnose.torch_device import device_of

GRID = (6, 6)
IMAGES_AT_ONCE = 32


def encoder_of(network: nn.Module) -> UNet | None:
    """Return the U-Net whose encoder half gives features; None where the network has none on images."""
    if isinstance(network, ImageScaled) and isinstance(network.network, UNet):
        return network.network
    return None


def features(encoder: UNet, images: np.ndarray) -> np.ndarray:
    """Return one vector of unit length for each image.

    Parameters
    ----------
    encoder : UNet
    images : float array (image, rows, columns)
        Magnitudes of any scale.

    Returns
    -------
    float32 array (image, feature)
    """
    found = []
    with torch.inference_mode():
        for part in torch.from_numpy(np.asarray(images, np.float32)).to(device_of(encoder)).split(IMAGES_AT_ONCE):
            x = z_score(part.flatten(1))[0].reshape(part.shape)[:, None]
            for level, block in enumerate(encoder.down):
                x = block(nn.functional.avg_pool2d(x, 2) if level else x)
            vectors = nn.functional.adaptive_avg_pool2d(x, GRID).flatten(1)
            found.append(nn.functional.normalize(vectors, dim=1))
    return torch.cat(found).cpu().numpy()


def nearest_similarity(train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the cosine of each test vector (test, feature) with the nearest training vector: (test,)."""
    return (test @ train.T).max(axis=1)
