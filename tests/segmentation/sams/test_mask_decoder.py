"""The decoder that shares work between prompts computes what the libraries' own decoders compute."""

from __future__ import annotations

import pytest
import torch

from gen.segmentation.sams.promptable import PromptableModel, TwoWayNetwork
from gen.segmentation.sams.sam import SamNetwork
from gen.segmentation.sams.sam2 import Sam2Network
from gen.segmentation.sams.sam_hq import SamHqNetwork
from gen.segmentation.sams.segment_anything_package import PackageNetwork
from tests.segmentation.sams import tiny_sams

CPU = torch.device("cpu")
POINTS = torch.tensor([[[10.0, 12.0], [30.0, 20.0]], [[70.0, 40.0], [2.0, 3.0]]])
LABELS = torch.tensor([[1, 0], [1, 1]])
BOXES = torch.tensor([[5.0, 5.0, 30.0, 40.0], [20.0, 3.0, 78.0, 46.0]])
PROMPTS = {
    "points": (POINTS, LABELS, None, True),
    "a point": (POINTS[:, :1], LABELS[:, :1], None, True),
    "boxes": (None, None, BOXES, False),
    "both": (POINTS, LABELS, BOXES, False),
}


@pytest.fixture(scope="module")
def picture():
    return torch.rand(1, 3, 48, 80, generator=torch.Generator().manual_seed(0)) * 2 - 1


def scaled(frame, boxes):
    return frame.to_square(boxes.unflatten(-1, (2, 2))).flatten(-2)


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
@pytest.mark.parametrize("make, adapter", [(tiny_sams.transformers_sam, SamNetwork), (tiny_sams.transformers_sam2, Sam2Network)])
def test_equals_transformers(make, adapter, prompts, picture):
    points, labels, boxes, multimask = prompts
    network = make()
    ours = adapter(network, tiny_sams.SIDE, "vision_encoder", CPU, torch.float32, False)
    embedding = ours.embed(picture)
    logits, ious = ours.decode(embedding, *prompts)
    asked = {} if points is None else {"input_points": embedding.frame.to_square(points)[None], "input_labels": labels[None]}
    asked |= {} if boxes is None else {"input_boxes": scaled(embedding.frame, boxes)[None]}
    with torch.no_grad():
        theirs = network(pixel_values=embedding.frame.place(picture), multimask_output=multimask, **asked)
    torch.testing.assert_close(logits, theirs.pred_masks[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ious, theirs.iou_scores[0], atol=1e-5, rtol=1e-4)
    assert logits.std() > 0.1
    assert not torch.allclose(logits[0], logits[1], atol=0.1), "the prompts must matter, or this test shows nothing"


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_equals_the_package(prompts, picture):
    points, labels, boxes, multimask = prompts
    network = tiny_sams.package_sam()
    ours = PackageNetwork(network, CPU, torch.float32, False)
    embedding = ours.embed(picture)
    logits, ious = ours.decode(embedding, *prompts)
    asked = None if points is None else (embedding.frame.to_square(points), labels)
    with torch.no_grad():
        sparse, dense = network.prompt_encoder(asked, None if boxes is None else scaled(embedding.frame, boxes), None)
        features = network.image_encoder(embedding.frame.place(picture))
        masks, scores = network.mask_decoder(features, network.prompt_encoder.get_dense_pe(), sparse, dense, multimask)
    torch.testing.assert_close(logits, masks, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ious, scores, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_sam_hq_is_decoded_as_its_authors_do(prompts, picture):
    """Their steps one after the other, from the parts of transformers' network, whose own forward upscales another tensor."""
    points, labels, boxes, multimask = prompts
    network = tiny_sams.transformers_sam_hq()
    ours = SamHqNetwork(network, tiny_sams.SIDE, "vision_encoder", CPU, torch.float32, False)
    embedding = ours.embed(picture)
    logits, ious = ours.decode(embedding, *prompts)
    decoder, frame = network.mask_decoder, embedding.frame
    with torch.no_grad():
        seen = network.vision_encoder(frame.place(picture))
        asked = None if points is None else frame.to_square(points)[None]
        boxed = None if boxes is None else scaled(frame, boxes)[None]
        sparse, dense = network.prompt_encoder(asked, None if labels is None else labels[None], boxed, None)
        own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight, decoder.hq_token.weight])
        tokens = torch.cat([own.repeat(1, 2, 1, 1), sparse], 2)
        image = (seen.last_hidden_state + dense).repeat(2, 1, 1, 1)
        position = network.get_image_wide_positional_embeddings().repeat(2, 1, 1, 1)
        queries, cells = decoder.transformer(tokens, image, position, None)
        cells = cells[:, 0].transpose(1, 2).reshape(image.shape)
        act = decoder.activation
        pixels = act(decoder.upscale_conv2(act(decoder.upscale_layer_norm(decoder.upscale_conv1(cells)))))
        early = seen.intermediate_embeddings[0].permute(0, 3, 1, 2)
        fine = decoder.encoder_conv2(act(decoder.encoder_norm(decoder.encoder_conv1(seen.last_hidden_state))))
        fine = fine + decoder.compress_vit_conv2(act(decoder.compress_vit_norm(decoder.compress_vit_conv1(early))))
        fine = decoder.mask_conv2(act(decoder.mask_norm(decoder.mask_conv1(pixels)))) + fine
        nets = [*decoder.output_hypernetworks_mlps, decoder.hq_mask_mlp]
        weights = torch.stack([net(queries[0, :, 1 + number]) for number, net in enumerate(nets)], 1)
        masks = torch.einsum("pmc,pcyx->pmyx", weights[:, :4], pixels) + torch.einsum("pc,pcyx->pyx", weights[:, 4], fine)[:, None]
        scores = decoder.iou_prediction_head(queries[0, :, 0])
    chosen = 1 + scores[:, 1:].argmax(1) if multimask else torch.zeros(2, dtype=torch.long)
    torch.testing.assert_close(logits[:, 0], masks[torch.arange(2), chosen], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ious[:, 0], scores[torch.arange(2), chosen], atol=1e-5, rtol=1e-4)


def test_sam2_takes_the_best_of_three_where_the_one_is_not_stable(picture):
    """With a bound that nothing reaches, and with one that all reach."""
    network = tiny_sams.transformers_sam2()
    ours = Sam2Network(network, tiny_sams.SIDE, "vision_encoder", CPU, torch.float32, False)
    embedding = ours.embed(picture)
    several, _ = ours.decode(embedding, POINTS, LABELS, None, multimask=True)
    answers = {}
    for bound in (0.0, 1.1):
        network.mask_decoder.dynamic_multimask_stability_thresh = bound
        answers[bound], _ = ours.decode(embedding, POINTS, LABELS, None, multimask=False)
    assert not any((answers[0.0][0, 0] == each).all() for each in several[0])
    assert any((answers[1.1][0, 0] == each).all() for each in several[0])


def test_prompts_are_independent_of_each_other(picture, monkeypatch):
    """However many are decoded at once."""
    from gen.segmentation.sams import promptable

    ours = SamNetwork(tiny_sams.transformers_sam(), tiny_sams.SIDE, "vision_encoder", CPU, torch.float32, False)
    embedding = ours.embed(picture)
    together, _ = ours.decode(embedding, POINTS, LABELS, None, multimask=True)
    monkeypatch.setitem(promptable._CELLS_AT_ONCE, "cpu", 1)
    alone, _ = ours.decode(embedding, POINTS, LABELS, None, multimask=True)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "make, adapter, sizes",
    [
        (tiny_sams.package_sam, PackageNetwork, ()),
        (tiny_sams.transformers_sam, SamNetwork, (tiny_sams.SIDE, "vision_encoder")),
        (tiny_sams.transformers_sam2, Sam2Network, (tiny_sams.SIDE, "vision_encoder")),
        (tiny_sams.transformers_sam_hq, SamHqNetwork, (tiny_sams.SIDE, "vision_encoder")),
    ],
)
def test_bf16_is_close_in_every_network(make, adapter, sizes, picture):
    networks = [tiny_sams.randomised(make(), std=0.1) for _ in range(2)]  # larger weights would blow rounding up
    dtypes = (torch.float32, torch.bfloat16)
    exact, rounded = (adapter(each, *sizes, CPU, dtype, False) for each, dtype in zip(networks, dtypes, strict=True))
    assert isinstance(exact, PromptableModel) and isinstance(exact, TwoWayNetwork)
    answers = [each.decode(each.embed(picture), POINTS, LABELS, None, multimask=False) for each in (exact, rounded)]
    assert answers[1][0].dtype == torch.float32
    error = (answers[0][0] - answers[1][0]).std() / answers[0][0].std()
    assert 0 < error < 0.05
