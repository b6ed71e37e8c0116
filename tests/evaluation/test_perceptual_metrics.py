"""LPIPS, CLIP and DINO similarity: real classes at toy size, each given its own normalised input, refused where weights are missing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
import transformers
from transformers import AutoImageProcessor, AutoTokenizer

from gen.artefact import ArtefactError
from gen.evaluation.distribution_metrics import frechet_distance
from gen.evaluation.perceptual_metrics import (
    Clip,
    ClipDirectionalSimilarity,
    ClipImageSimilarity,
    ClipTextSimilarity,
    Comparison,
    Dino,
    DinoSimilarity,
    Lpips,
    PerceptualMetric,
)
from image_utils.convert import to_pil

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
KINDS = pytest.mark.parametrize("kind", ["clip", "dino"])


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory, stable_diffusion) -> Path:
    """Write a toy CLIP in transformers' layout: 16 pixels of a picture whose shorter side is made 20."""
    folder = tmp_path_factory.mktemp("clip")
    tokenizer = AutoTokenizer.from_pretrained(stable_diffusion / "tokenizer")
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text = {**SMALL, **ends, "intermediate_size": 16, "vocab_size": len(tokenizer), "projection_dim": 8}
    vision = {**SMALL, "intermediate_size": 16, "image_size": 16, "patch_size": 8, "projection_dim": 8}
    torch.manual_seed(0)
    transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 20}, crop_size={"height": 16, "width": 16}).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory) -> Path:
    """Write a toy DINOv2 with ImageNet's mean and deviation."""
    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(0)
    transformers.Dinov2Model(transformers.Dinov2Config(**SMALL, mlp_ratio=2, image_size=16, patch_size=8)).save_pretrained(folder)
    settings = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
    sizes = {"size": {"shortest_edge": 20}, "crop_size": {"height": 16, "width": 16}}
    transformers.BitImageProcessorPil(**sizes, **settings).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def extractors(clip_folder, dino_folder) -> dict[str, Clip | Dino]:
    return {"clip": Clip(clip_folder), "dino": Dino(str(dino_folder))}


def pictures(seed: int = 0, count: int = 3) -> torch.Tensor:
    return torch.rand(count, 3, 24, 24, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def inputs(extractor: Clip | Dino, images: torch.Tensor) -> torch.Tensor:
    """Return what the network's first convolution is given."""
    seen: list[torch.Tensor] = []
    conv = next(module for module in extractor._network.modules() if isinstance(module, torch.nn.Conv2d))
    handle = conv.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    extractor(images)
    handle.remove()
    return torch.cat(seen)


@KINDS
@pytest.mark.parametrize("grey", [-1.0, 0.2, 1.0])
def test_the_network_receives_its_own_range_and_size(kind, grey, extractors):
    """A picture of one colour arrives as (colour in [0, 1] - mean) / deviation of that network's own training."""
    mean, deviation = {
        "clip": ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]),
        "dino": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    }[kind]
    found = inputs(extractors[kind], torch.full((1, 3, 24, 30), grey))
    level = round((grey + 1) * 127.5) / 255
    expected = (level - torch.tensor(mean)) / torch.tensor(deviation)
    torch.testing.assert_close(found, expected[None, :, None, None].expand(1, 3, 16, 16), atol=1e-5, rtol=0)


@KINDS
def test_the_network_receives_what_transformers_makes_of_the_pictures(kind, extractors, clip_folder, dino_folder):
    processor = AutoImageProcessor.from_pretrained({"clip": clip_folder, "dino": dino_folder}[kind])
    expected = processor([to_pil(image) for image in pictures()], return_tensors="pt").pixel_values
    torch.testing.assert_close(inputs(extractors[kind], pictures()), expected, atol=1e-5, rtol=0)


def test_clip_is_transformers_own_logit_without_its_scale(clip_folder, extractors):
    """The library's whole model, asked for pictures against texts, gives the same cosines."""
    model = transformers.CLIPModel.from_pretrained(clip_folder).eval()
    tokens = AutoTokenizer.from_pretrained(clip_folder)(["red", "a", "of"], padding="max_length", max_length=77, return_tensors="pt")
    with torch.no_grad():
        output = model(pixel_values=inputs(extractors["clip"], pictures()), **tokens)
    expected = (output.logits_per_image / model.logit_scale.exp()).diagonal()
    found = ClipTextSimilarity(extractors["clip"])(Comparison(pictures(), caption=["red", "a", "of"]))
    torch.testing.assert_close(found, expected.detach(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("metric", [ClipImageSimilarity, DinoSimilarity])
def test_identical_pictures_are_alike_and_others_less(metric, extractors):
    measure = metric(extractors["clip" if metric is ClipImageSimilarity else "dino"])
    assert isinstance(measure, PerceptualMetric)
    torch.testing.assert_close(measure(Comparison(pictures(), truth=pictures())), torch.ones(3))
    mixed = pictures()
    mixed[1] = -1
    found = measure(Comparison(mixed, truth=pictures()))
    torch.testing.assert_close(found[[0, 2]], torch.ones(2))
    assert -1 <= float(found[1]) < 0.999
    torch.testing.assert_close(found, measure(Comparison(pictures(), truth=mixed)))


def test_the_direction_of_a_change_turns_round_with_the_captions(extractors):
    measure = ClipDirectionalSimilarity(extractors["clip"])
    first, second, words = pictures(0), pictures(1), (["red"] * 3, ["a"] * 3)
    there = measure(Comparison(second, source=first, source_caption=words[0], caption=words[1]))
    torch.testing.assert_close(measure(Comparison(first, source=second, source_caption=words[0], caption=words[1])), -there)
    torch.testing.assert_close(measure(Comparison(first, source=second, source_caption=words[1], caption=words[0])), there)
    assert float(there.abs().max()) <= 1 and float(there.abs().min()) > 0


def test_a_picture_that_did_not_change_has_no_direction(extractors):
    measure = ClipDirectionalSimilarity(extractors["clip"])
    captions = {"source_caption": ["red"] * 3, "caption": ["a"] * 3}
    assert measure(Comparison(pictures(), source=pictures(), **captions)).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="picture 0: both captions are 'a'"):
        measure(Comparison(pictures(), source=pictures(1), source_caption=["a"] * 3, caption=["a"] * 3))


@KINDS
def test_features_do_not_depend_on_the_batch(kind, extractors):
    many = pictures(count=40)  # more than are looked at at once
    extractor = extractors[kind]
    torch.testing.assert_close(extractor(many), torch.cat([extractor(many[i : i + 1]) for i in range(40)]), atol=1e-5, rtol=0)
    torch.testing.assert_close(extractor(many).norm(dim=-1), torch.ones(40))


@KINDS
def test_features_serve_as_those_of_a_distribution(kind, extractors):
    """Equal sets are no distance apart; darkened ones are."""
    features = extractors[kind](pictures(count=10))
    assert frechet_distance(features, features) < 1e-6
    assert frechet_distance(features, extractors[kind](pictures(count=10) * 0.3 - 0.7)) > 1e-3


@pytest.mark.parametrize("missing", ["truth", "caption", "source"])
def test_what_a_metric_needs_and_does_not_get_is_named(missing, extractors):
    clip = extractors["clip"]
    metric = {"truth": ClipImageSimilarity, "caption": ClipTextSimilarity, "source": ClipDirectionalSimilarity}[missing](clip)
    with pytest.raises(ValueError, match=f"{metric.name}: the comparison has no {missing}"):
        metric(Comparison(pictures()))


def test_pictures_that_are_not_finite_are_refused(extractors):
    broken = pictures()
    broken[0, 0, 0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        extractors["dino"](broken)


@KINDS
@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "preprocessor_config.json"])
def test_a_folder_that_lacks_a_part_is_refused(kind, file, clip_folder, dino_folder, tmp_path):
    folder = shutil.copytree({"clip": clip_folder, "dino": dino_folder}[kind], tmp_path / "copy")
    (folder / file).unlink()
    wanted = {"config.json": "config.json", "model.safetensors": "safetensors", "preprocessor_config.json": "image processor"}[file]
    with pytest.raises(ArtefactError, match=wanted):
        {"clip": Clip, "dino": Dino}[kind](folder)


def test_a_clip_without_its_vocabulary_is_refused(clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "copy")
    for file in folder.glob("*token*"):
        file.unlink()
    with pytest.raises(ArtefactError, match="tokenizer"):
        Clip(folder)


def test_weights_that_do_not_fit_are_refused(dino_folder, tmp_path):
    """Transformers itself would fill the missing layer with random numbers."""
    folder = shutil.copytree(dino_folder, tmp_path / "copy")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ArtefactError, match="missing encoder"):
        Dino(folder)


def test_another_kind_of_network_is_refused(clip_folder, dino_folder):
    with pytest.raises(ArtefactError, match="model_type 'dinov2'; give a folder of clip"):
        Clip(dino_folder)
    with pytest.raises(ArtefactError, match="model_type 'clip'; give a folder of dinov2"):
        Dino(clip_folder)


@pytest.mark.parametrize("extractor", [Clip, Dino])
def test_weights_that_are_nowhere_are_refused(extractor):
    with pytest.raises(ArtefactError, match="is no folder on this disk"):
        extractor("nobody/nothing")


def test_lpips_is_refused_without_weights_and_without_its_package(tmp_path, monkeypatch):
    with pytest.raises(ArtefactError, match=r"no such file.*lpips\.LPIPS\(net='alex'\)"):
        Lpips(tmp_path / "lpips_alex.safetensors")
    (tmp_path / "lpips_alex.safetensors").touch()
    monkeypatch.setitem(sys.modules, "lpips", None)  # what an import of a missing package finds
    with pytest.raises(ValueError, match="needs the package lpips"):
        Lpips(tmp_path / "lpips_alex.safetensors")
    with pytest.raises(ValueError, match="network='resnet'"):
        Lpips(tmp_path / "lpips_alex.safetensors", "resnet")
