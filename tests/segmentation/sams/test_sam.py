"""The segmenters of the SAM family: what they load, what they refuse, that a picture always gives the same regions."""

from __future__ import annotations

import pickle
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader

from gen import scenes
from gen.artefact import ArtefactError
from gen.evaluation.mask_benchmark import package_weights
from gen.segmentation.mask_rules import MaskRules
from gen.segmentation.sams import automatic_segmenter
from gen.segmentation.sams.promptable_weights import computes_in
from gen.segmentation.sams.sam import Sam
from gen.segmentation.sams.sam2 import Sam2
from gen.segmentation.sams.sam_hq import SamHq
from gen.segmentation.segmenter import Segmenter
from tests.segmentation.sams import tiny_sams

FAMILY = {
    "sam": (Sam, tiny_sams.transformers_sam),
    "sam2": (Sam2, tiny_sams.transformers_sam2),
    "sam_hq": (SamHq, tiny_sams.transformers_sam_hq),
}
LENIENT = {"points_per_side": 4, "pred_iou_threshold": 0.0, "stability_threshold": 0.0, "device": "cpu"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}
    for name, (_, make) in FAMILY.items():
        made[name] = tmp_path_factory.mktemp("weights") / name
        make().save_pretrained(made[name])
    return made


@pytest.fixture(scope="module")
def pictures():
    return scenes.render([scenes.sample_scene(12, number, "simple") for number in range(4)], 64)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("dtype", ["auto", "fp32", "bf16"])
def test_every_member_segments_in_the_pictures_own_geometry(name, dtype, folders):
    segmenter = FAMILY[name][0](weights=str(folders[name]), dtype=dtype, **LENIENT)
    assert isinstance(segmenter, Segmenter)
    picture = torch.rand(3, 30, 50, generator=torch.Generator().manual_seed(1)) * 2 - 1
    labels = segmenter(picture)
    assert labels.shape == (30, 50) and labels.dtype == torch.long
    assert torch.equal(labels, segmenter(picture))


def test_a_large_picture_is_cut_small_and_its_regions_are_as_large_as_it(folders, monkeypatch):
    segmenter = Sam(weights=str(folders["sam"]), **LENIENT)
    picture = torch.rand(3, 30, 50, generator=torch.Generator().manual_seed(1)) * 2 - 1
    whole = segmenter(picture)
    monkeypatch.setattr(automatic_segmenter, "LARGEST_SIDE", 25)
    small = segmenter(picture)
    assert small.shape == (30, 50)
    assert torch.equal(small[::2, ::2], small[1::2, 1::2]), "each pixel was enlarged to four"
    assert not torch.equal(small, whole)


def test_building_loads_nothing_and_workers_get_the_settings_alone(folders):
    segmenter = Sam(weights=str(folders["sam"]), dtype="fp32", **LENIENT)
    sent = pickle.dumps(segmenter)
    assert len(sent) < 2000
    assert pickle.loads(sent) == segmenter
    assert segmenter.network() is pickle.loads(sent).network(), "one network a process"
    assert segmenter.network() is not Sam(weights=str(folders["sam"]), dtype="bf16", **LENIENT).network()


def test_rules_are_applied(folders):
    picture = torch.rand(3, 30, 50, generator=torch.Generator().manual_seed(1)) * 2 - 1
    masks = Sam(weights=str(folders["sam"]), rules=MaskRules(overlapping=True, max_area=1.0, max_regions=2), **LENIENT)(picture)
    assert masks.dtype == torch.bool and masks.shape[1:] == (30, 50) and 1 <= len(masks) <= 3
    assert torch.equal(masks[0], ~masks[1:].any(0))


def test_the_package_gives_what_transformers_gives(folders, tmp_path, pictures):
    """Its checkpoint is one file; sizes follow from the shapes."""
    network = tiny_sams.transformers_sam()
    save_file({name: weight.contiguous() for name, weight in package_weights(network).items()}, tmp_path / "sam.safetensors")
    theirs = Sam(weights=str(folders["sam"]), dtype="fp32", **LENIENT)
    ours = Sam(weights=str(tmp_path / "sam.safetensors"), source="segment_anything", dtype="fp32", **LENIENT)
    assert type(ours.network()) is not type(theirs.network())
    for picture in pictures.pixel_values[:2]:
        ours_found, theirs_found = ours.propose(picture), theirs.propose(picture)
        assert len(ours_found.masks) == len(theirs_found.masks)
        torch.testing.assert_close(ours_found.scores, theirs_found.scores, atol=1e-3, rtol=1e-3)
        assert (ours_found.masks == theirs_found.masks).float().mean() > 0.99


def test_sam2_leaves_a_video_models_memory_out_and_nothing_else(tmp_path, folders):
    from transformers import Sam2VideoConfig, Sam2VideoModel

    small = {"memory_attention_hidden_size": 32, "memory_attention_feed_forward_hidden_size": 32, "memory_attention_num_layers": 1}
    small |= {"memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 8, "mask_downsampler_embed_dim": 32}
    small |= {"memory_fuser_embed_dim": 32, "memory_fuser_intermediate_dim": 32, "memory_fuser_num_layers": 1, "image_size": 64}
    video = Sam2VideoModel(Sam2VideoConfig(**tiny_sams.sam2_parts(), **small))
    video.save_pretrained(tmp_path / "video")
    picture = torch.rand(3, 30, 50) * 2 - 1
    segmenter = Sam2(weights=str(tmp_path / "video"), dtype="fp32", **LENIENT)
    assert segmenter(picture).shape == (30, 50)
    own = segmenter.network().network.state_dict()
    theirs = {name: weight for name, weight in video.state_dict().items() if name in own}
    assert len(theirs) > 150
    unlike = [name for name, weight in theirs.items() if not torch.equal(own[name], weight.to(own[name].dtype))]
    assert unlike == []
    state = load_file(folders["sam2"] / "model.safetensors")
    save_file({**state, "something_else.weight": torch.zeros(1)}, folders["sam2"] / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtefactError, match="superfluous something_else"):
        Sam2(weights=str(folders["sam2"]), **{**LENIENT, "points_per_side": 5}, dtype="bf16").network()
    save_file(state, folders["sam2"] / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("name, other", [(name, other) for name in FAMILY for other in FAMILY if name != other])
def test_a_folder_of_another_member_is_refused_when_built(name, other, folders):
    with pytest.raises(ArtefactError, match=rf"weights=.*: its config.json names '{other}'; give a folder of {name}"):
        FAMILY[name][0](weights=str(folders[other]))


def test_a_folder_without_a_network_is_refused_when_built(tmp_path):
    with pytest.raises(ArtefactError, match="config.json: cannot be read"):
        Sam(weights=str(tmp_path))


def test_loading_draws_no_random_numbers(folders, tmp_path):
    """Or a training that goes on after a stop, and loads anew, would not be the one that never stopped."""
    save_file(
        {name: weight.contiguous() for name, weight in package_weights(tiny_sams.transformers_sam()).items()}, tmp_path / "a.safetensors"
    )
    sources = {"transformers": folders["sam"], "segment_anything": tmp_path / "a.safetensors"}
    for source, weights in sources.items():
        before = torch.get_rng_state()
        Sam(weights=str(weights), source=source, device="cpu", dtype="bf16").network()
        assert torch.equal(before, torch.get_rng_state()), source


def test_weights_fit_exactly_or_are_refused(tmp_path):
    network = tiny_sams.transformers_sam()
    network.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["mask_decoder.iou_token.weight"]
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtefactError, match="missing mask_decoder.iou_token.weight"):
        Sam(weights=str(tmp_path), **LENIENT).network()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"weights": "/nowhere/sam"}, r"weights=/nowhere/sam: is not there; give a folder, a hub name or one of tiny, base, large, huge"),
        ({"weights": "enormous"}, "enormous"),
        ({"weights": "sam_vit_b_01ec64.pth"}, r"pickle.*safetensors.torch.*weights_only=True.*sam_vit_b_01ec64.safetensors"),
        ({"weights": "x.safetensors", "source": "segment_anything"}, r"x.safetensors: is not there; give a .safetensors file"),
        ({"points_per_side": 0}, "points_per_side=0"),
        ({"pred_iou_threshold": 88.0}, "pred_iou_threshold=88"),
        ({"stability_offset": -1.0}, "stability_offset=-1.0"),
    ],
)
def test_refused_when_built(settings, message):
    with pytest.raises(ValueError, match=message):
        Sam(**settings)


def test_refused_at_the_first_picture(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="device='warp' is unknown"):
        Sam(weights="tiny", device="warp").network()
    with pytest.raises(ValueError, match="dtype='fp8' is unknown"):
        computes_in("fp8", torch.device("cpu"))
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no such device"):
            Sam(weights="tiny", device="cuda").network()
    with pytest.raises(ArtefactError, match="hf download"):
        Sam(weights="facebook/sam-vit-base", device="cpu").network()
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ArtefactError, match="no checkpoint of the segment_anything package"):
        Sam(weights=str(tmp_path / "other.safetensors"), source="segment_anything", device="cpu").network()
    for name in [name for name in sys.modules if name.split(".")[0] == "segment_anything"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "segment_anything", None)  # what an import that is not installed meets
    with pytest.raises(ValueError, match=r"pip install -c constraints.txt -e '.\[sam\]'"):
        Sam(weights=str(tmp_path / "other.safetensors"), source="segment_anything", device="cpu", dtype="fp32").network()


def test_lending_names_leaves_no_trace():
    from gen.segmentation.sams.segment_anything_package import import_segment_anything

    before = "torchvision" in sys.modules
    import_segment_anything()
    assert ("torchvision" in sys.modules) == before


@pytest.mark.gpu
@pytest.mark.parametrize("compiled", [False, True])
def test_a_gpu_finds_what_the_cpu_finds(compiled, pictures):
    on_cpu = Sam(weights="tiny", device="cpu", dtype="fp32", points_per_side=12)
    on_gpu = Sam(weights="tiny", device="cuda", dtype="bf16", points_per_side=12, compile=compiled)
    for picture in pictures.pixel_values:
        assert (on_cpu(picture) == on_gpu(picture.cuda()).cpu()).float().mean() > 0.97


def test_loader_processes_find_what_this_process_finds(folders, pictures):
    segmenter = Sam(weights=str(folders["sam"]), dtype="fp32", **LENIENT)
    loader = DataLoader(pictures.pixel_values, batch_size=None, num_workers=2, collate_fn=segmenter)
    for picture, found in zip(pictures.pixel_values, loader, strict=True):
        assert torch.equal(found, segmenter(picture))


@pytest.mark.gpu
def test_a_loader_process_that_cannot_use_the_gpu_says_so(pictures):
    segmenter = Sam(weights="tiny", device="cuda", points_per_side=2)
    segmenter(pictures.pixel_values[0].cuda())
    loader = DataLoader(pictures.pixel_values, batch_size=None, num_workers=1, collate_fn=segmenter)
    with pytest.raises(ValueError, match="use dataset.num_workers=0 or device=auto"):
        next(iter(loader))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["transformers", "segment_anything"])
def test_compiled_gives_the_same(source, folders, tmp_path):
    weights = folders["sam"]
    if source == "segment_anything":
        weights = tmp_path / "sam.safetensors"
        save_file({name: weight.contiguous() for name, weight in package_weights(tiny_sams.transformers_sam()).items()}, weights)
    picture = torch.rand(3, 30, 50, generator=torch.Generator().manual_seed(1)) * 2 - 1
    settings = {"weights": str(weights), "source": source, "dtype": "fp32", **LENIENT}
    plain, compiled = (Sam(**settings, compile=each).propose(picture) for each in (False, True))
    assert len(plain.masks) == len(compiled.masks)
    torch.testing.assert_close(plain.scores, compiled.scores, atol=1e-4, rtol=1e-4)
