"""The small backbone: what it sees, what it starts from, what its folder says."""

from __future__ import annotations

import pytest
import torch

from gen.models.component import Component
from gen.models.image_backbone import ConvBackbone, ImageBackbone


def image(channels: int = 4) -> torch.Tensor:
    return torch.rand(2, channels, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_it_gives_one_map_at_a_quarter_of_the_resolution():
    backbone = ConvBackbone(32)
    (features,) = backbone(image())
    assert features.shape == (2, 32, 8, 8)
    assert backbone.widths == [32]


def test_coordinates_change_nothing_until_they_are_trained():
    backbone = ConvBackbone(32, in_channels=6)
    first, other = image(6), image(6)
    other[:, 4:] *= -1
    assert torch.equal(backbone(first)[0], backbone(other)[0])

    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    backbone(first)[0][:, 0].sum().backward()
    optimizer.step()
    assert not torch.equal(backbone(first)[0], backbone(other)[0])


def test_the_other_channels_are_seen_from_the_start():
    backbone, first = ConvBackbone(32, in_channels=6), image(6)
    for channel in range(4):
        other = first.clone()
        other[:, channel] *= -1
        assert not torch.equal(backbone(first)[0], backbone(other)[0])


def test_blocks_are_named_as_in_older_weights():
    backbone = ConvBackbone(32, depth=2)
    names = {name.rpartition(".")[0] for name, _ in backbone.named_parameters()}
    assert {"stem", "down", "norm", "blocks.1.convs.0", "blocks.1.norms.1"} <= names
    assert list(backbone.blocks) == [backbone.get_submodule("blocks.0"), backbone.get_submodule("blocks.1")]


def test_saved_and_loaded_it_is_the_same(tmp_path):
    backbone = ConvBackbone(32, depth=2, in_channels=6).eval()
    backbone.save_pretrained(tmp_path)
    loaded = ImageBackbone.from_pretrained(tmp_path)
    assert torch.equal(loaded(image(6))[0], backbone(image(6))[0])
    assert Component.from_architecture(loaded.architecture()).architecture() == backbone.architecture()


def test_other_numbers_of_channels_are_refused():
    with pytest.raises(ValueError, match="in_channels=5"):
        ConvBackbone(32, in_channels=5)
