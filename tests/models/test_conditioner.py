"""What the decoder is told: poses, captions, and how both are left out."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from gen.models.conditioner import Conditioner
from gen.models.layer_tokens import LayerTokens, RegionGate
from gen.models.layout_map import LayoutMap
from gen.models.modulation import LayerModulation
from gen.models.pose_embedding import CameraToken, PoseConcat, PoseFiLM
from gen.models.pretrained_text_encoder import PretrainedTextEncoder
from gen.models.region_visibility import RegionVisibility
from gen.models.text_encoder import CaptionEncoder
from gen.models.unet import denoise
from gen.regions import RegionLatents, RegionPose
from tests.models.toy_conditioning import noise, toy_conditioner, toy_latents, toy_unet
from tests.models.toy_stable_diffusion import write_toy_stable_diffusion


@pytest.fixture
def conditioner() -> Conditioner:
    return toy_conditioner()


@pytest.fixture
def latents() -> RegionLatents:
    generator = torch.Generator().manual_seed(0)
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0], [0.25, 0.25, 0.5, 0.5], [0.0, 0.0, 0.0, 0.0]]])
    return RegionLatents(torch.randn(1, 3, 2, 32, generator=generator), RegionPose.from_boxes(boxes), torch.tensor([[True, True, False]]))


def test_the_sequence_is_registers_text_regions(conditioner, latents):
    conditioning = conditioner(latents, 16, ["a red circle"])
    assert conditioning.encoder_hidden_states.shape == (1, 3 + 3 + 3 * 2, 32)
    assert conditioning.attention_mask.tolist() == [[True] * 3 + [True] * 3 + [True] * 4 + [False] * 2]
    assert conditioning.token_region.tolist() == [-1] * 6 + [0, 0, 1, 1, 2, 2]


def test_an_empty_caption_has_no_text_tokens(conditioner, latents):
    assert conditioner(latents, 16, [""]).attention_mask[0, 3:4].tolist() == [False]


def test_a_dropped_caption_is_an_empty_one(conditioner, latents):
    dropped = conditioner(latents, 16, ["a red circle"], text_dropped=torch.tensor([True]))
    assert torch.equal(dropped.encoder_hidden_states, conditioner(latents, 16, [""]).encoder_hidden_states)


def test_words_matter_and_unknown_words_are_one_word(conditioner, latents):
    red, circle, odd, other = (conditioner(latents, 16, [word]).encoder_hidden_states for word in ("red", "circle", "zebra", "quark"))
    assert not torch.equal(red, circle) and torch.equal(odd, other)


@pytest.mark.parametrize("pose", [PoseFiLM, PoseConcat])
def test_before_training_tokens_are_free_of_pose(latents, pose):
    """However pose enters, its way is zero at first: the sequence does not depend on the pose yet, the layout map does."""
    conditioner = toy_conditioner(pose=pose(32))
    moved = replace(latents, pose=replace(latents.pose, centre=latents.pose.centre + 0.1))
    first, second = conditioner(latents, 16), conditioner(moved, 16)
    assert torch.equal(first.encoder_hidden_states, second.encoder_hidden_states)
    assert not torch.equal(first.layout_map, second.layout_map)


def test_without_a_pose_part_tokens_pass_as_they_are(latents):
    conditioning = toy_conditioner(pose=None)(latents, 16)
    assert torch.equal(conditioning.encoder_hidden_states[:, -6:], latents.tokens.flatten(1, 2))


def test_the_layout_map_paints_a_region_only_around_its_box(conditioner, latents):
    without = conditioner(replace(latents, valid=torch.tensor([[True, False, False]])), 16).layout_map
    painted = (conditioner(latents, 16).layout_map - without).abs().amax(1)[0]
    assert painted[4:8, 4:8].min() > 1e-3 and painted[11:].max() < 1e-3


def test_a_mirrored_object_is_a_mirrored_map(conditioner, latents):
    only = replace(latents, valid=torch.tensor([[False, True, False]]))
    flipped = replace(only, pose=replace(only.pose, flip=torch.tensor([[0.0, 1.0, 0.0]])))
    first, second = conditioner(only, 16).layout_map[..., 4:8, 4:8], conditioner(flipped, 16).layout_map[..., 4:8, 4:8]
    torch.testing.assert_close(second, first.flip(-1))


def every_part(folder) -> Conditioner:
    """Return a conditioner with every part, for a decoder whose tokens are wider than ours."""
    torch.manual_seed(0)
    return Conditioner(
        num_queries=2,
        width=32,
        cross_attention_dim=48,
        num_registers=3,
        pose=PoseConcat(32),
        layout=LayoutMap(2, 32, 8),
        text=PretrainedTextEncoder(str(write_toy_stable_diffusion(folder, cross_attention_dim=48)), region_width=32),
        layers=LayerTokens(),
        gate=RegionGate(),
        visibility=RegionVisibility(self_attention=True),
        modulation=LayerModulation(32),
        camera=CameraToken(32),
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Conditioner:
    return every_part(tmp_path_factory.mktemp("toy") / "weights")


def test_a_dropped_sample_knows_nothing_of_its_regions(whole):
    """Neither of what they are, nor of where, nor of how the camera moved, in whatever way the decoder is told."""
    unet, dropped = toy_unet(width=48, modulation=True), torch.tensor([True, True])
    whole.fit_to(unet)
    for parameter in (*whole.modulation.parameters(), *whole.gate.parameters(), *whole.pose.parameters()):
        torch.nn.init.normal_(parameter, std=0.1)
    first = toy_latents()
    second = RegionLatents(
        first.tokens + 1, replace(first.pose, centre=1 - first.pose.centre), first.valid & torch.tensor([True, True, False, False])
    )
    camera = torch.ones(2, 12)

    def paint(latents: RegionLatents, camera: torch.Tensor, dropped: torch.Tensor | None) -> torch.Tensor:
        with torch.no_grad():
            return denoise(unet, *noise(), whole(latents, 8, None, dropped, camera=camera))

    assert torch.equal(paint(first, camera, dropped), paint(second, -camera, dropped))
    assert not torch.equal(paint(first, camera, None), paint(second, camera, None))
    assert not torch.equal(paint(first, camera, None), paint(first, -camera, None))


def test_with_every_part_saved_and_loaded_it_says_the_same(tmp_path):
    unet, latents = toy_unet(width=48, modulation=True), toy_latents()
    conditioner = every_part(tmp_path / "weights")
    conditioner.fit_to(unet)
    for parameter in conditioner.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    conditioner.eval().save_pretrained(tmp_path / "conditioner")
    loaded = Conditioner.from_pretrained(tmp_path / "conditioner")
    loaded.fit_to(unet)
    pictures = []
    for one in (conditioner, loaded):
        with torch.no_grad():
            told = one(latents, 8, ["red [1] of [region]", "a"], camera=torch.ones(2, 12))
            pictures.append(denoise(unet, *noise(), told))
    assert torch.equal(*pictures)


def test_the_folder_names_no_place_and_holds_json_and_safetensors(tmp_path):
    conditioner = every_part(tmp_path / "weights")
    conditioner.save_pretrained(tmp_path / "conditioner")
    files = [path for path in (tmp_path / "conditioner").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert not any(str(tmp_path) in path.read_text() for path in files if path.suffix == ".json")
    json.loads((tmp_path / "conditioner" / "config.json").read_text())


def test_what_was_built_for_another_decoder_is_refused(whole):
    whole.fit_to(toy_unet(width=48, modulation=True))
    whole.fit_to(toy_unet(width=48, modulation=True, seed=1))
    with pytest.raises(ValueError, match="cross_attention_dim is 32; set model.conditioner.cross_attention_dim=32"):
        whole.fit_to(toy_unet(width=32, modulation=True))
    with pytest.raises(ValueError, match="needs 'scale_shift'"):
        whole.fit_to(toy_unet(width=48))


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"pose": PoseFiLM(16)}, "conditioner.pose.width=16"),
        ({"layout": LayoutMap(3, 32, 8)}, "layout.num_queries=3"),
        ({"text": CaptionEncoder(["red"], 16)}, "text has tokens of width 16"),
        ({"gate": RegionGate(), "num_registers": 0}, "set num_registers=1"),
    ],
)
def test_parts_that_do_not_fit_are_named(parts, message):
    with pytest.raises(ValueError, match=message):
        Conditioner(**{"num_queries": 2, "width": 32, "num_registers": 1} | parts)


def test_all_of_it_runs_in_half_precision(tmp_path):
    unet, conditioner, latents = toy_unet(width=48, modulation=True), every_part(tmp_path / "weights"), toy_latents()
    conditioner.fit_to(unet)
    noisy, timesteps = noise()
    pictures = []
    for dtype in (torch.float32, torch.bfloat16):
        conditioner.to(dtype).eval(), unet.to(dtype)
        with torch.no_grad():
            told = conditioner(replace(latents, tokens=latents.tokens.to(dtype)), 8, ["red [1]", ""], camera=torch.ones(2, 12))
            pictures.append(denoise(unet, noisy.to(dtype), timesteps, told))
    assert pictures[1].dtype == torch.bfloat16
    torch.testing.assert_close(pictures[1].float(), pictures[0], rtol=0.1, atol=0.1)


def test_everything_learns(whole):
    unet = toy_unet(width=48, modulation=True)
    whole.fit_to(unet)
    whole.train()
    told = whole(toy_latents(), 8, ["red [1]", ""], torch.tensor([False, True]), camera=torch.ones(2, 12))
    denoise(unet, *noise(), told).square().sum().backward()
    frozen = {name for name, parameter in whole.named_parameters() if not parameter.requires_grad}
    idle = {name for name, parameter in whole.named_parameters() if parameter.grad is None}
    whole.eval()
    assert idle == frozen and all(name.startswith("text.model.") for name in frozen)
