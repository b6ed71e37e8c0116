"""Regions by name: boxes are where the detector sees them, in pixels of the picture, and become masks."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from gen.artefact import ArtefactError
from gen.segmentation.sams.prompted import Prompt, prompted_masks
from gen.segmentation.sams.sam import Sam
from gen.segmentation.sams.text_prompted import SamText

SAM = Sam(weights="tiny", device="cpu", dtype="fp32")


@pytest.fixture(scope="module")
def detector(tmp_path_factory, stable_diffusion):
    """Write a toy OWLv2 with random weights: 64 x 64 pixels, 4 x 4 boxes."""
    from transformers import CLIPTokenizer, Owlv2Config, Owlv2ForObjectDetection, Owlv2Processor
    from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil

    folder = tmp_path_factory.mktemp("detector")
    tokenizer = CLIPTokenizer.from_pretrained(stable_diffusion / "tokenizer", model_max_length=16)
    small = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**small, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    vision = {**small, "image_size": 64, "patch_size": 16}
    network = Owlv2ForObjectDetection(Owlv2Config(text_config=text, vision_config=vision, projection_dim=32))
    with torch.no_grad():  # boxes about as large as cells, and scores that differ
        for weight in (network.box_head.dense2.weight, network.class_head.logit_shift.weight, network.class_head.logit_scale.weight):
            weight *= 0.01
    network.save_pretrained(folder)
    Owlv2Processor(Owlv2ImageProcessorPil(size={"height": 64, "width": 64}), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def picture():
    return torch.rand(3, 48, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_boxes_are_those_of_transformers_own_post_processing(detector, picture):
    from transformers import Owlv2ForObjectDetection, Owlv2Processor

    from image_utils import convert

    segmenter = SamText(labels=("mug", "cat"), detector=str(detector), sam=SAM, threshold=0.0, box_nms_threshold=1.0, device="cpu")
    found = segmenter.find(picture)
    processor, network = Owlv2Processor.from_pretrained(detector), Owlv2ForObjectDetection.from_pretrained(detector)
    inputs = processor(text=[["a photo of a mug", "a photo of a cat"]], images=convert.to_pil(picture), return_tensors="pt")
    with torch.no_grad():
        output = network(**inputs)
    theirs = processor.post_process_grounded_object_detection(output, threshold=0.0, target_sizes=[(48, 96)])[0]
    order = theirs["scores"].argsort(descending=True, stable=True)
    corners = theirs["boxes"][order].clamp_min(0).minimum(torch.tensor([96.0, 48.0, 96.0, 48.0]))
    within = (corners[:, 2:] - corners[:, :2] >= 1).all(1)  # some lie in the padding
    assert 1 < len(found.boxes) == int(within.sum())
    torch.testing.assert_close(found.boxes, corners[within], atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(found.scores, theirs["scores"][order][within], atol=1e-5, rtol=1e-4)
    assert found.labels.tolist() == theirs["labels"][order][within].tolist()


def test_what_is_found_becomes_regions(detector, picture):
    segmenter = SamText(labels=["mug"], detector=str(detector), sam=SAM, threshold=0.0, device="cpu")
    labels = segmenter(picture)
    assert labels.shape == (48, 96)
    assert torch.equal(labels, segmenter(picture))
    found = segmenter.find(picture)
    masks, _ = prompted_masks(SAM.network(), picture, [Prompt(box=tuple(box)) for box in found.boxes.tolist()])
    assert torch.equal(labels > 0, (segmenter.rules(masks, found.scores) > 0))
    assert not SamText(labels=["mug"], detector=str(detector), sam=SAM, threshold=1.0, device="cpu")(picture).any()


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"labels": "mug"}, "labels='mug'"),
        ({"labels": ()}, r"labels='\[mug,cat\]'"),
        ({"labels": ("mug", " ")}, "no empty name"),
        (
            {"labels": ("mug",), "detector": "/nowhere/owl"},
            "detector=/nowhere/owl: is not there; give .* one of base, large",
        ),
        ({"labels": ("mug",), "threshold": 2.0}, "threshold=2.0"),
    ],
)
def test_refused_when_built(settings, message):
    with pytest.raises(ValueError, match=message):
        SamText(**settings)


def test_a_folder_without_a_vocabulary_is_refused(detector, tmp_path, picture):
    for name in ("config.json", "preprocessor_config.json", "processor_config.json"):
        if (detector / name).exists():
            (tmp_path / name).write_text((detector / name).read_text())
    save_file(load_file(detector / "model.safetensors"), tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ArtefactError, match="tokenizer"):
        SamText(labels=("mug",), detector=str(tmp_path), sam=SAM, device="cpu")(picture)
