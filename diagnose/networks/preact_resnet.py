"""PreActResNet-18, -34 and -50 with four two-logit heads, as in the study that this project reproduces.

Differences from the textbook network, all of the paper's public code: no norm after the stem, no norm and no ReLU after
the last stage, a pooled map of 10 x 10 (not 1 x 1) in front of the heads, and one two-class head per finding.

References
----------
He et al., Identity Mappings in Deep Residual Networks, 2016. arXiv:1603.05027
Madaan et al., normalization schemes under MR artifacts, MIDL 2023, PMLR 227:1726-1750.
"""

import hashlib

import torch
from torch import Tensor, nn

from diagnose.norms import NormLayer

FINDINGS = ("abnormal", "mtear", "acl", "cartilage")
"""The paper's four heads, in the order of its labels; `abnormal` means other findings, not any finding."""

_N_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


class PreActBlock(nn.Module):
    """Two 3 x 3 convolutions, each behind norm and ReLU; the shortcut leaves from the pre-activated tensor."""

    expansion = 1

    def __init__(self, n_input: int, n_planes: int, stride: int, norm_layer: NormLayer):
        super().__init__()
        self.norm1 = norm_layer(n_input)
        self.conv1 = nn.Conv2d(n_input, n_planes, 3, stride=stride, padding=1, bias=False)
        self.norm2 = norm_layer(n_planes)
        self.conv2 = nn.Conv2d(n_planes, n_planes, 3, padding=1, bias=False)
        self.shortcut = _shortcut(n_input, n_planes * self.expansion, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (image, n_input, height, width) to (image, n_planes, height / stride, width / stride)."""
        activated = torch.relu(self.norm1(x))
        residual = self.conv2(torch.relu(self.norm2(self.conv1(activated))))
        return residual + (x if self.shortcut is None else self.shortcut(activated))


class PreActBottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, each behind norm and ReLU; four times as many channels leave."""

    expansion = 4

    def __init__(self, n_input: int, n_planes: int, stride: int, norm_layer: NormLayer):
        super().__init__()
        n_output = n_planes * self.expansion
        self.norm1 = norm_layer(n_input)
        self.conv1 = nn.Conv2d(n_input, n_planes, 1, bias=False)
        self.norm2 = norm_layer(n_planes)
        self.conv2 = nn.Conv2d(n_planes, n_planes, 3, stride=stride, padding=1, bias=False)
        self.norm3 = norm_layer(n_planes)
        self.conv3 = nn.Conv2d(n_planes, n_output, 1, bias=False)
        self.shortcut = _shortcut(n_input, n_output, stride)

    def forward(self, x: Tensor) -> Tensor:
        """Map (image, n_input, height, width) to (image, 4 n_planes, height / stride, width / stride)."""
        activated = torch.relu(self.norm1(x))
        residual = self.conv2(torch.relu(self.norm2(self.conv1(activated))))
        residual = self.conv3(torch.relu(self.norm3(residual)))
        return residual + (x if self.shortcut is None else self.shortcut(activated))


class PreActResNet(nn.Module):
    """Four stages of pre-activated blocks; build it with `preact_resnet`."""

    def __init__(
        self,
        block: type[PreActBlock] | type[PreActBottleneck],
        n_blocks: tuple[int, ...],
        norm_layer: NormLayer,
        *,
        width: int,
        stem_stride: int,
        pooled_size: int,
        n_input_channels: int,
        n_heads: int,
    ):
        super().__init__()
        self.pooled_size = pooled_size
        self.stem = nn.Conv2d(n_input_channels, width, 3, stride=stem_stride, padding=1, bias=False)
        stages, n_channels = [], width
        for index, n_blocks_here in enumerate(n_blocks):
            blocks: list[nn.Module] = []
            for position in range(n_blocks_here):
                stride = 2 if index > 0 and position == 0 else 1
                blocks.append(block(n_channels, width * 2**index, stride, norm_layer))
                n_channels = width * 2**index * block.expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.heads = nn.ModuleList(nn.Linear(n_channels * pooled_size**2, 2) for _ in range(n_heads))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of every head.

        Parameters
        ----------
        images : Tensor
            Shape (image, n_input_channels, height, width).

        Returns
        -------
        Tensor
            Shape (image, head, 2): logits of absent and present. The paper ranks by the second alone.

        Raises
        ------
        ValueError
            If the last feature map is smaller than the pooled one (torch would enlarge it silently), or a single pixel
            (which every per-image norm of a channel maps to its bias).
        """
        features = pool(self.stages(self.stem(images)), self.pooled_size).flatten(1)
        return torch.stack([head(features) for head in self.heads], dim=1)


def preact_resnet(
    depth: int,
    norm_layer: NormLayer,
    *,
    seed: int,
    width: int = 64,
    stem_stride: int = 1,
    pooled_size: int = 10,
    n_input_channels: int = 1,
    n_heads: int = len(FINDINGS),
) -> PreActResNet:
    """Build and initialise a PreActResNet; the defaults are the paper's (depth 18: 11,574,472 parameters).

    Parameters
    ----------
    depth : int
        18 and 34 (basic blocks) or 50 (bottlenecks). The paper's code runs 18 only.
    norm_layer : Callable[[int], nn.Module]
        From `diagnose.norms.norm_layer`, made for the same width.
    seed : int
        Seed of the initialisation. Convolution and head weights depend on it and on their own name alone: they are
        the same for every norm, and torch's global generator is neither read nor moved.
    width : int
        Channels of the first stage; the stages have 1, 2, 4, 8 times as many (times 4 at depth 50).
    stem_stride, pooled_size, n_input_channels, n_heads : int
        Stride of the stem, side of the pooled map in pixels, channels of the input, and number of findings.

    Raises
    ------
    ValueError
        If the depth is not one of 18, 34, 50, or the seed is negative.
    """
    if depth not in _N_BLOCKS:
        raise ValueError(f"depth is {depth}; expected one of {', '.join(map(str, _N_BLOCKS))}")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected 0 or more")
    block = PreActBottleneck if depth == 50 else PreActBlock
    with torch.random.fork_rng(devices=[]):  # torch's own initialisation, overwritten below, must leave no trace
        network = PreActResNet(
            block,
            _N_BLOCKS[depth],
            norm_layer,
            width=width,
            stem_stride=stem_stride,
            pooled_size=pooled_size,
            n_input_channels=n_input_channels,
            n_heads=n_heads,
        )
    initialise(network, seed)
    return network


def initialise(network: nn.Module, seed: int) -> None:
    """Draw convolutions Kaiming-normal (fan out) and heads as torch does, in place, each from its own named stream.

    A stream is keyed by seed and module name, so a norm layer, which draws nothing, cannot shift the weights behind it.
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        key = hashlib.sha256(f"initialisation;{seed};{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "little") >> 1)
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu", generator=generator)
        else:
            bound = module.in_features**-0.5
            nn.init.uniform_(module.weight, -bound, bound, generator=generator)
            nn.init.uniform_(module.bias, -bound, bound, generator=generator)


def pool(features: Tensor, pooled_size: int) -> Tensor:
    """Average (image, channel, height, width) down to (image, channel, pooled_size, pooled_size).

    Limits
    ------
    Where the map is no multiple of the pooled size, torch's adaptive pooling is used; its gradient on CUDA is not
    deterministic. All sizes of the study are multiples.
    """
    height, width = features.shape[-2:]
    if min(height, width) < max(2, pooled_size):
        raise ValueError(
            f"the last feature map is {height} x {width}; expected at least {max(2, pooled_size)} on a side "
            f"(pooled size {pooled_size}): take a larger image, a smaller stem stride or a smaller pooled size"
        )
    if height % pooled_size or width % pooled_size:
        return nn.functional.adaptive_avg_pool2d(features, pooled_size)
    return nn.functional.avg_pool2d(features, (height // pooled_size, width // pooled_size))


def _shortcut(n_input: int, n_output: int, stride: int) -> nn.Conv2d | None:
    """A 1 x 1 convolution where the shape changes, else None: the identity, past norm and ReLU."""
    if stride == 1 and n_input == n_output:
        return None
    return nn.Conv2d(n_input, n_output, 1, stride=stride, bias=False)
