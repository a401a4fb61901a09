"""Vision transformer for reconstruction: patches of an image are tokens; each token is mapped back to its patch.

Small: embedding 396, 4 blocks, 9 heads, 8,029,000 parameters; large: 1024, 10 blocks, 16 heads, 127,188,068. Patches of
10 x 10 pixels, positions of a 32 x 32 grid, resized bilinearly to the image's own. Queries, keys and values have no
bias, the default of the third paper's public code; with it, 4,752 and 30,720 more, the same to the digits published.

References
----------
Dosovitskiy et al., An Image is Worth 16x16 Words, 2020. arXiv:2010.11929; Lin and Heckel, ICML 2024,
PMLR 235:30018-30041, arXiv:2312.10271.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diagnose.networks.initialisation import built
from diagnose.norms import ChannelLayerNorm, NormLayer

SIZES = {"vit-small": (396, 4, 9), "vit-large": (1024, 10, 16)}
"""Embedding, blocks and heads of the two sizes of the third paper."""

PATCH = 10
GRID = 32
"""Tokens along each side of the grid of learnt positions: 320 pixels."""


class Block(nn.Module):
    """Attention over all tokens, then a perceptron on each; both behind a norm, both added to what they read.

    Tokens are kept as a map (image, channel, rows, columns), so that every norm layer of images fits.
    """

    def __init__(self, n_channels: int, n_heads: int, norm_layer: NormLayer):
        super().__init__()
        self.n_heads = n_heads
        self.norm1 = norm_layer(n_channels)
        self.query_key_value = nn.Linear(n_channels, 3 * n_channels, bias=False)
        self.projection = nn.Linear(n_channels, n_channels)
        self.norm2 = norm_layer(n_channels)
        self.perceptron = nn.Sequential(
            nn.Linear(n_channels, 4 * n_channels), nn.GELU(), nn.Linear(4 * n_channels, n_channels)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (image, channel, rows, columns) to the same shape."""
        tokens = tokens + _as_map(self._attend(_as_sequence(self.norm1(tokens))), tokens)
        return tokens + _as_map(self.perceptron(_as_sequence(self.norm2(tokens))), tokens)

    def _attend(self, sequence: Tensor) -> Tensor:
        split = self.query_key_value(sequence).unflatten(2, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split.unbind(0)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        return self.projection(attended.transpose(1, 2).flatten(2))


def _as_sequence(tokens: Tensor) -> Tensor:
    return tokens.flatten(2).transpose(1, 2)


def _as_map(sequence: Tensor, like: Tensor) -> Tensor:
    return sequence.transpose(1, 2).unflatten(2, like.shape[2:])


class VisionTransformer(nn.Module):
    """Patches to tokens, blocks, tokens to patches; build it with `vision_transformer`."""

    def __init__(self, norm_layer: NormLayer, *, n_channels: int, n_blocks: int, n_heads: int, patch: int, grid: int):
        super().__init__()
        self.patch = patch
        self.embed = nn.Conv2d(1, n_channels, patch, stride=patch)
        self.position_embedding = nn.Parameter(torch.zeros(1, n_channels, grid, grid))
        self.blocks = nn.Sequential(*(Block(n_channels, n_heads, norm_layer) for _ in range(n_blocks)))
        self.norm = norm_layer(n_channels)
        self.head = nn.Linear(n_channels, patch * patch)

    def forward(self, images: Tensor) -> Tensor:
        """Map (image, 1, rows, columns) to the same shape; zeros at the end fill the sides up to whole patches."""
        rows, columns = images.shape[-2:]
        padded = nn.functional.pad(images, (0, -columns % self.patch, 0, -rows % self.patch))
        tokens = self.embed(padded)
        positions = _resized(self.position_embedding, tuple(tokens.shape[2:]))
        tokens = self.norm(self.blocks(tokens + positions))
        pixels = self.head(_as_sequence(tokens))
        patches = pixels.unflatten(1, tokens.shape[2:]).unflatten(3, (self.patch, self.patch))
        # (image, patch row, patch column, row, column) -> rows of patches beneath each other
        return patches.permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)[:, None, :rows, :columns]


def _resized(positions: Tensor, sides: tuple[int, ...]) -> Tensor:
    """Resize (1, channel, rows, columns) bilinearly, as two matrix products.

    On a GPU, torch refuses its own resizing in deterministic mode.
    """
    for axis, side in zip((2, 3), sides, strict=True):
        unit = torch.eye(positions.shape[axis], dtype=positions.dtype, device=positions.device)[None]
        weights = nn.functional.interpolate(unit, size=side, mode="linear", align_corners=False)[0]
        positions = (positions.movedim(axis, -1) @ weights).movedim(-1, axis)
    return positions


def vision_transformer(
    norm_layer: NormLayer = ChannelLayerNorm,
    *,
    seed: int,
    size: tuple[int, int, int] = SIZES["vit-small"],
    patch: int = PATCH,
    grid: int = GRID,
) -> VisionTransformer:
    """Build and initialise a vision transformer; the defaults are the third paper's smaller one.

    Parameters
    ----------
    norm_layer : Callable[[int], nn.Module]
        The published layer (over the channels of each token), or one of `diagnose.norms.norm_layer` made for the
        embedding's width.
    seed : int
        Weights depend on it and on the layer's name alone.
    size : tuple of int
        Embedding, blocks and heads; see `SIZES`.
    patch : int
        Side of a patch in pixels.
    grid : int
        Positions along a side that are learnt.

    Raises
    ------
    ValueError
        If the heads do not divide the embedding, or the seed is negative.

    Limits
    ------
    Scale its input (`diagnose.networks.unet.ImageScaled`): at the magnitudes of raw data, the positions are all it
    would see. Attention grows with the square of the number of patches.
    """
    n_channels, n_blocks, n_heads = size
    if n_channels % n_heads:
        raise ValueError(f"{n_heads} heads do not divide the embedding of {n_channels}; expected a multiple")
    return built(
        lambda: VisionTransformer(
            norm_layer, n_channels=n_channels, n_blocks=n_blocks, n_heads=n_heads, patch=patch, grid=grid
        ),
        seed=seed,
        scheme="transformer",
    )  # fmt: skip
