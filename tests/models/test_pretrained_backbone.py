"""Networks of the transformers library as backbones: toy sizes of the real classes, no network access."""

from __future__ import annotations

import json

import pytest
import torch
import transformers

from gen.models.component import Component
from gen.models.image_backbone import ImageBackbone
from gen.models.pretrained_backbone import TransformersBackbone, resolve_layers
from gen.models.region_encoder import RegionEncoder
from gen.regions import Regions

SMALL = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
ARCHITECTURES = {
    "dinov2": {**SMALL, "mlp_ratio": 2},
    "dinov2_with_registers": {**SMALL, "mlp_ratio": 2, "num_register_tokens": 3},
    "dinov3_vit": {**SMALL, "intermediate_size": 32, "num_register_tokens": 2},
    "clip_vision_model": {**SMALL, "intermediate_size": 32},
    "siglip_vision_model": {**SMALL, "intermediate_size": 32},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 16, 24], "depths": [1, 1, 1], "layer_type": "basic"},
}
MEAN_STD = {
    "clip_vision_model": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
    "siglip_vision_model": ([0.5] * 3, [0.5] * 3),
}
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])

each_type = pytest.mark.parametrize("model_type", ARCHITECTURES)


def build(model_type: str, layers: list[int] | None = None, in_channels: int = 4) -> TransformersBackbone:
    torch.manual_seed(0)
    return TransformersBackbone("random", model_type, layers, in_channels, ARCHITECTURES[model_type])


def image(channels: int = 4, side: int = 32) -> torch.Tensor:
    return torch.rand(2, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def expected(network: torch.nn.Module, model_type: str, rgb: torch.Tensor) -> torch.Tensor:
    """Return the last map as one computes it with transformers alone."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in MEAN_STD.get(model_type, IMAGENET))
    output = network((rgb / 2 + 0.5 - mean) / std)
    if model_type == "resnet":
        return output.last_hidden_state
    hidden = output.last_hidden_state
    if model_type == "clip_vision_model":  # which norms only its CLS token
        hidden = getattr(network, "vision_model", network).post_layernorm(hidden)
    return hidden[:, -16:].mT.unflatten(-1, (4, 4))


@each_type
def test_it_starts_as_the_network_was_trained(model_type, tmp_path):
    """A folder that transformers saved gives transformers' own features of the normalised RGB, whatever the other channels are."""
    config = getattr(transformers, type(build(model_type).network.config).__name__)(**ARCHITECTURES[model_type])
    network = getattr(transformers, type(build(model_type).network).__name__)(config).eval()
    network.save_pretrained(tmp_path)
    for in_channels in (4, 6):
        backbone = TransformersBackbone(str(tmp_path), in_channels=in_channels).eval()
        features = backbone(image(in_channels))[0]
        torch.testing.assert_close(features, expected(network, model_type, image(in_channels)[:, :3]), atol=1e-5, rtol=1e-4)


@each_type
def test_further_channels_are_learned(model_type):
    backbone = build(model_type, in_channels=6)
    optimizer = torch.optim.SGD(backbone.parameters(), lr=0.1)
    (features,) = backbone(image(6))
    features[:, :8].square().sum().backward()
    assert [name for name, parameter in backbone.named_parameters() if parameter.grad is None] == []
    optimizer.step()
    for channel in (3, 4, 5):
        other = image(6)
        other[:, channel] *= -1
        assert not torch.equal(backbone(image(6))[0], backbone(other)[0])
    (prefix,) = backbone.always_trained
    names = [name for name, _ in backbone.named_parameters() if name.startswith(prefix)]
    assert names == [f"{prefix}weight"]


@each_type
def test_chosen_layers_give_a_map_each(model_type):
    backbone = build(model_type, [-2, 0]).eval()
    first, second = backbone(image(side=64))
    sides = (16, 8) if model_type == "resnet" else (8, 8)
    assert (first.shape[-1], second.shape[-1]) == sides
    assert [first.shape[1], second.shape[1]] == backbone.widths
    assert len(backbone.blocks) == 2  # the third layer is not computed
    whole = build(model_type, [0, 1, 2]).eval()
    for ours, theirs in zip((first, second), whole(image(side=64)), strict=False):
        torch.testing.assert_close(ours, theirs)


@each_type
def test_saved_and_loaded_it_is_the_same_without_the_weights_source(model_type, tmp_path):
    backbone = build(model_type, [0, 1], in_channels=6).eval()
    torch.nn.init.normal_(backbone.get_parameter(f"{next(iter(backbone.always_trained))}weight"))
    backbone.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["weights"] is None
    assert config["layers"] == [0, 1]
    loaded = ImageBackbone.from_pretrained(tmp_path)
    for ours, theirs in zip(loaded(image(6)), backbone(image(6)), strict=True):
        assert torch.equal(ours, theirs)


def test_what_a_folder_says_beyond_the_architecture_is_not_kept(tmp_path):
    """Old configurations carry much; the saved one must be one that `weights=random` takes."""
    network = transformers.Dinov2Model(transformers.Dinov2Config(**ARCHITECTURES["dinov2"]))
    network.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "top_k": 50, "_name_or_path": "somewhere"}))
    backbone = TransformersBackbone(str(tmp_path))
    assert backbone.config["architecture"].keys() == build("dinov2").config["architecture"].keys()
    assert str(tmp_path) not in json.dumps(backbone.architecture())
    Component.from_architecture(backbone.architecture()).load_state_dict(backbone.state_dict())


@each_type
def test_one_picture_alone_or_in_a_batch_gives_the_same(model_type):
    """Also while training: batch norms keep their statistics, DINOv3 does not shift its positions at random."""
    backbone = build(model_type).train()
    torch.testing.assert_close(backbone(image())[0][:1], backbone(image()[:1])[0], atol=1e-5, rtol=1e-4)


def test_sides_that_are_no_multiples_are_resized():
    assert build("dinov2")(image(side=37))[0].shape[-1] == 5
    assert build("dinov2")(image(side=35))[0].shape[-1] == 4


@pytest.mark.parametrize("model_type", ["clip", "siglip"])
def test_the_image_half_of_a_text_and_image_model_is_taken(model_type, tmp_path):
    name = {"clip": "CLIP", "siglip": "Siglip"}[model_type]
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 9}
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=ARCHITECTURES[f"{model_type}_vision_model"])
    whole = getattr(transformers, f"{name}Model")(config).eval()
    whole.save_pretrained(tmp_path)
    backbone = TransformersBackbone(str(tmp_path)).eval()
    wanted = expected(whole.vision_model, f"{model_type}_vision_model", image()[:, :3])
    torch.testing.assert_close(backbone(image())[0], wanted, atol=1e-5, rtol=1e-4)


def test_an_encoder_on_it_saves_and_loads(tmp_path):
    """5 cells a side over 36 pixels: masks need not divide into the patches."""
    encoder = RegionEncoder(build("dinov2", [0, 2]), 2, 32, 1, 2).eval()
    label_map = torch.zeros(1, 36, 36, dtype=torch.long)
    label_map[:, 5:17, 9:20] = 1
    regions = Regions.from_label_map(label_map, 3)
    pixels = image(3, 36)[:1]
    encoder.save_pretrained(tmp_path)
    tokens = encoder(pixels, regions)
    assert torch.equal(RegionEncoder.from_pretrained(tmp_path)(pixels, regions), tokens)
    assert tokens[:, :2].abs().min() > 0
    assert (tokens[:, 2] == 0).all()


def test_layers_are_counted_from_either_end():
    assert resolve_layers(None, 12) == [11]
    assert resolve_layers([-1, 2, 11, -4], 12) == [2, 8, 11]
    with pytest.raises(ValueError, match=r"layers=\[12\]"):
        resolve_layers([12], 12)


def test_what_cannot_be_found_is_said_in_short(tmp_path):
    with pytest.raises(ValueError, match=r"weights=nobody/nothing: neither a folder nor.*weights=random"):
        TransformersBackbone("nobody/nothing")
    with pytest.raises(ValueError, match="safetensors"):
        TransformersBackbone(str(tmp_path))


def test_other_kinds_of_network_are_refused(tmp_path):
    transformers.BertConfig(hidden_size=16).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is a bert, wanted is one of dinov2"):
        TransformersBackbone(str(tmp_path))
    build("dinov2").network.config.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is a dinov2, wanted is resnet"):
        TransformersBackbone(str(tmp_path), "resnet")


def test_random_weights_need_a_known_type_and_known_arguments():
    with pytest.raises(ValueError, match="model_type=None"):
        TransformersBackbone("random")
    with pytest.raises(ValueError, match="a dinov2 has no hiden_size"):
        TransformersBackbone("random", "dinov2", architecture={"hiden_size": 16})
    with pytest.raises(ValueError, match="has no _attn_implementation"):
        TransformersBackbone("random", "dinov2", architecture={"_attn_implementation": "somebody/kernels"})


def test_weights_that_lack_something_are_refused(tmp_path):
    network = transformers.Dinov2Model(transformers.Dinov2Config(**ARCHITECTURES["dinov2"]))
    state = {name: value for name, value in network.state_dict().items() if name != "encoder.layer.1.norm1.weight"}
    network.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(ValueError, match=r"lacks weights of a dinov2: encoder\.layer\.1\.norm1\.weight"):
        TransformersBackbone(str(tmp_path))
