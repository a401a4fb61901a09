"""The vision transformer of the third paper: its sizes, and that patches go back to where they came from."""

import pytest
import torch
from torch import nn

from diagnose.networks.vit import SIZES, _resized, vision_transformer
from diagnose.norms import NORMS, ChannelLayerNorm, norm_layer


def small(norm=ChannelLayerNorm, **changes):
    return vision_transformer(norm, **({"seed": 0, "size": (16, 2, 4), "patch": 4, "grid": 5} | changes))


def images(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "n_parameters"), [("vit-small", 8_029_000), ("vit-large", 127_188_068)])
def test_parameters_are_those_of_the_paper(name, n_parameters):
    with torch.device("meta"):
        network = vision_transformer(seed=0, size=SIZES[name])
    assert sum(parameter.numel() for parameter in network.parameters()) == n_parameters


def test_patches_go_back_to_their_place():
    network = small(nn.Identity, size=(16, 1, 4))
    network.norm = network.blocks = nn.Identity()
    with torch.no_grad():
        network.position_embedding.zero_()
        network.embed.weight.copy_(torch.eye(16).reshape(16, 1, 4, 4))
        network.embed.bias.zero_()
        network.head.weight.copy_(torch.eye(16))
        network.head.bias.zero_()
    x = images(2, 1, 11, 14)
    torch.testing.assert_close(network(x), x, rtol=0, atol=0)


def test_attention_is_the_textbook_formula():
    block = small().blocks[0]
    sequence = images(2, 6, 16)
    query, key, value = (sequence @ part.T for part in block.query_key_value.weight.chunk(3))
    heads = []
    for head in range(4):
        mine = slice(4 * head, 4 * head + 4)
        weights = (query[..., mine] @ key[..., mine].transpose(1, 2) / 2).softmax(-1)  # 2 = sqrt of 4 per head
        heads.append(weights @ value[..., mine])
    torch.testing.assert_close(block._attend(sequence), block.projection(torch.cat(heads, -1)), rtol=1e-4, atol=1e-6)


def test_tokens_know_their_place_by_the_embedding_alone():
    network = small(seed=3)
    constant = torch.ones(1, 1, 20, 20)
    patches = network(constant).unfold(2, 4, 4).unfold(3, 4, 4).reshape(25, 16)
    assert (patches - patches[0]).abs().max() > 1e-3
    with torch.no_grad():
        network.position_embedding.zero_()
    patches = network(constant).unfold(2, 4, 4).unfold(3, 4, 4).reshape(25, 16)
    torch.testing.assert_close(patches, patches[:1].expand(25, 16), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sides", [(5, 5), (3, 8), (10, 2)])
def test_positions_are_resized_bilinearly(sides):
    positions = images(1, 3, 5, 5)
    reference = nn.functional.interpolate(positions, size=sides, mode="bilinear", align_corners=False)
    torch.testing.assert_close(_resized(positions, sides), reference, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_fits_and_every_parameter_learns(norm):
    network = small(norm_layer(norm, width=16))
    output = network(images(2, 1, 13, 9))
    assert output.shape == (2, 1, 13, 9)
    output.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())


def test_published_norm_is_layer_norm_of_each_token():
    x, reference = images(2, 6, 3, 4), nn.LayerNorm(6)
    expected = reference(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    torch.testing.assert_close(ChannelLayerNorm(6)(x), expected, rtol=1e-5, atol=1e-6)


def test_start_is_a_function_of_the_seed():
    first, again, other = small(), small(), small(seed=1)
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
    assert not torch.equal(first.position_embedding, other.position_embedding)
    large = small(size=(64, 2, 4), grid=16)
    assert large.position_embedding.std().item() == pytest.approx(0.02, rel=0.03)
    assert large.blocks[1].perceptron[0].weight.std().item() == pytest.approx(0.02, rel=0.03)


def test_heads_that_do_not_divide_the_embedding_are_refused():
    with pytest.raises(ValueError, match="3 heads do not divide the embedding of 16"):
        small(size=(16, 1, 3))
