"""Networks of the timm library as backbones; skipped where timm, or the torchvision that it needs, cannot be imported."""

from __future__ import annotations

import importlib
import json

import pytest
import torch
from safetensors.torch import save_file

from gen.models.image_backbone import ImageBackbone
from gen.models.region_encoder import RegionEncoder
from gen.models.timm_backbone import TimmBackbone
from gen.regions import Regions

try:
    timm, why = importlib.import_module("timm"), ""
except (ImportError, RuntimeError) as error:  # a torchvision that does not fit torch raises RuntimeError
    timm, why = None, f"timm cannot be imported: {error}"

with_timm = pytest.mark.skipif(timm is None, reason=why)

NETWORKS = {
    "vit_tiny_patch16_224": {"embed_dim": 16, "depth": 3, "num_heads": 2, "patch_size": 8, "img_size": 32},
    "vit_small_patch14_reg4_dinov2": {"embed_dim": 16, "depth": 3, "num_heads": 2, "patch_size": 8, "img_size": 32},
    "vit_small_patch16_dinov3": {"embed_dim": 16, "depth": 3, "num_heads": 2, "patch_size": 8},
    "resnet18": {"channels": [8, 8, 16, 16]},
}
each_network = pytest.mark.parametrize("name", NETWORKS)


def build(name: str, layers: list[int] | None = None, in_channels: int = 4) -> TimmBackbone:
    torch.manual_seed(0)
    return TimmBackbone(name, "random", layers, in_channels, NETWORKS[name])


def image(channels: int = 4, side: int = 32) -> torch.Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@with_timm
@each_network
def test_a_file_that_timm_saved_gives_timms_own_features(name, tmp_path):
    """Of the normalised RGB, after the final norm, whatever the other channels are."""
    network = timm.create_model(name, **NETWORKS[name]).eval()
    save_file(network.state_dict(), tmp_path / "network.safetensors")
    mean, std = (torch.tensor(network.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    features = network.forward_features((image(6)[:, :3] / 2 + 0.5 - mean) / std)
    if name != "resnet18":
        features = features[:, -16:].mT.unflatten(-1, (4, 4))
    for in_channels in (4, 6):
        backbone = TimmBackbone(name, str(tmp_path / "network.safetensors"), None, in_channels, NETWORKS[name]).eval()
        torch.testing.assert_close(backbone(image(6)[:, :in_channels])[0], features, atol=1e-5, rtol=1e-4)


@with_timm
@each_network
def test_further_channels_are_learned(name):
    backbone = build(name, in_channels=6)
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    backbone(image(6))[0][:, :8].square().sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []
    optimizer.step()
    for channel in (3, 4, 5):
        other = image(6)
        other[:, channel] *= -1
        assert not torch.equal(backbone(image(6))[0], backbone(other)[0])
    (prefix,) = backbone.always_trained
    assert [name for name, _ in backbone.named_parameters() if name.startswith(prefix)] == [f"{prefix}weight"]


@with_timm
@each_network
def test_chosen_layers_give_a_map_each(name):
    backbone = build(name, [-2, 1] if name == "resnet18" else [-2, 0])
    maps = backbone(image(side=64))
    assert [each.shape[-1] for each in maps] == ([16, 4] if name == "resnet18" else [8, 8])
    assert [each.shape[1] for each in maps] == backbone.widths
    assert len(backbone.blocks) == (3 if name == "resnet18" else 2)  # the last layer is not computed


@with_timm
@each_network
def test_one_picture_alone_or_in_a_batch_gives_the_same(name):
    backbone = build(name).train()
    torch.testing.assert_close(backbone(image())[0][:1], backbone(image()[:1])[0], atol=1e-5, rtol=1e-4)


@with_timm
@each_network
def test_an_encoder_on_it_saves_and_loads_without_the_weights_source(name, tmp_path):
    network = timm.create_model(name, **NETWORKS[name])
    save_file(network.state_dict(), tmp_path / "network.safetensors")
    backbone = TimmBackbone(name, str(tmp_path / "network.safetensors"), [0, 1], 6, NETWORKS[name])
    (tmp_path / "network.safetensors").unlink()
    encoder = RegionEncoder(backbone, 2, 32, 1, 2, coordinates=True).eval()
    encoder.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())["backbone"]
    assert (config["weights"], config["layers"]) == (None, [0, 1])
    label_map = torch.zeros(2, 32, 32, dtype=torch.long)
    label_map[:, 5:17, 9:20] = 1
    regions = Regions.from_label_map(label_map, 2)
    assert torch.equal(RegionEncoder.from_pretrained(tmp_path)(image(3), regions), encoder(image(3), regions))
    backbone.save_pretrained(tmp_path / "alone")
    assert torch.equal(ImageBackbone.from_pretrained(tmp_path / "alone").eval()(image(6))[1], backbone.eval()(image(6))[1])


@with_timm
def test_what_cannot_be_built_is_said_in_short(tmp_path):
    with pytest.raises(ValueError, match=r"weights=pretrained: timm/.*/model.safetensors is neither.*weights=random"):
        TimmBackbone()
    with pytest.raises(ValueError, match=r"name=vit_tiny_patch16_22: timm has no such network; it has .*vit_tiny_patch16_224"):
        TimmBackbone("vit_tiny_patch16_22")
    with pytest.raises(ValueError, match="is no vision transformer and no ResNet"):
        TimmBackbone("convnext_tiny", "random")
    with pytest.raises(ValueError, match=r"weights=network.pth: is no .safetensors file"):
        TimmBackbone("resnet18", "network.pth")
    with pytest.raises(ValueError, match="pretrained_cfg is no part of a network's architecture"):
        TimmBackbone("resnet18", "random", architecture={"pretrained_cfg": {"url": "somewhere"}})
    with pytest.raises(ValueError, match="do not fit"):
        TimmBackbone("resnet18", "random", architecture={"embed_dim": 3})
    network = timm.create_model("resnet18", **NETWORKS["resnet18"])
    save_file({name: value for name, value in network.state_dict().items() if "layer2" not in name}, tmp_path / "part.safetensors")
    with pytest.raises(ValueError, match=r"do not fit: .*layer2"):
        TimmBackbone("resnet18", str(tmp_path / "part.safetensors"), architecture=NETWORKS["resnet18"])


@pytest.mark.skipif(timm is not None, reason="timm is here")
def test_without_timm_it_says_what_to_install():
    with pytest.raises(ValueError, match=r"needs timm and a torchvision .* or take TransformersBackbone"):
        TimmBackbone("resnet18", "random")
