"""A Segment Anything network of 1.4 M parameters, and the loss that teaches it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import SamModel

_SIDE, _GRID, _PROMPTS = 128, 64, 8  # pixels the network sees, pixels of its masks, prompts a picture
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def new_tiny_sam() -> SamModel:
    """Return the network with random weights: 128 x 128 pixels in, 16 x 16 tokens, masks of 64 x 64."""
    from transformers import SamConfig, SamModel

    vision: dict[str, Any] = {
        "image_size": _SIDE,
        "patch_size": 8,
        "hidden_size": 128,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "mlp_dim": 384,
    }
    vision |= {"output_channels": 128, "window_size": 8, "global_attn_indexes": [1, 3], "num_pos_feats": 64}
    vision["scale"] = 1  # of the random frequencies that positions are coded with; the default of 64 makes neighbours strangers
    prompt = {"image_size": _SIDE, "patch_size": 8, "image_embedding_size": 16, "hidden_size": 128}
    decoder = {"hidden_size": 128, "num_attention_heads": 4, "mlp_dim": 256, "iou_head_hidden_dim": 128}
    return SamModel(SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder))


def scene_batch(
    pixel_values: Float[Tensor, "b 3 64 64"], label_map: Int[Tensor, "b 64 64"]
) -> tuple[Float[Tensor, "b 3 128 128"], Int[Tensor, "b 64 64"]]:
    """Return normalised pictures as the network sees them: mirrored at random, in random colours, some padded below or at the right."""
    b = len(pixel_values)
    flip = torch.rand(b) < 0.5
    pixel_values = torch.where(flip[:, None, None, None], pixel_values.flip(-1), pixel_values)
    label_map = torch.where(flip[:, None, None], label_map.flip(-1), label_map)
    channels = torch.stack([torch.randperm(3) if torch.rand(()) < 0.3 else torch.arange(3) for _ in range(b)])
    pixel_values = pixel_values.gather(1, channels[:, :, None, None].expand_as(pixel_values))
    gain, shift = 1 + 0.15 * torch.randn(b, 3, 1, 1), 0.08 * torch.randn(b, 3, 1, 1)
    pixel_values = (pixel_values * gain + shift + 0.02 * torch.randn(b, 1, 1, 1) * torch.randn_like(pixel_values)).clamp(-1, 1)
    pictures = nn.functional.interpolate(pixel_values, (_SIDE, _SIDE), mode="bilinear")
    pictures = ((pictures + 1) / 2 - torch.tensor(_MEAN).view(3, 1, 1)) / torch.tensor(_STD).view(3, 1, 1)
    for number in torch.nonzero(torch.rand(b) < 0.3).flatten().tolist():
        kept = int(torch.randint(32, 64, ()))
        if torch.rand(()) < 0.5:
            pictures[number, :, 2 * kept :], label_map[number, kept:] = 0, 0
        else:
            pictures[number, :, :, 2 * kept :], label_map[number, :, kept:] = 0, 0
    return pictures, label_map


def prompt_loss(model: SamModel, pictures: Float[Tensor, "b 3 128 128"], label_map: Int[Tensor, "b 64 64"], boxes: bool) -> Tensor:
    """Return the loss of one batch of prompts at random pixels, or of boxes around their objects.

    Args:
        model: of `new_tiny_sam`.
        pictures: normalised.
        label_map: 0 is the background, which has no mask and a true IoU of 0.
        boxes: prompt with boxes (one mask is learnt) instead of points (the best of three is).
    """
    b = len(pictures)
    flat = label_map.flatten(1)
    area = torch.zeros(b, int(flat.max()) + 1).scatter_add_(1, flat, torch.ones(flat.shape))
    weight = 1 / area.gather(1, flat)  # every object is as likely, the background a little more
    pixel = torch.multinomial(torch.where(flat == 0, (0.2 if boxes else 1.5) * weight, weight), _PROMPTS, replacement=True)
    label = flat.gather(1, pixel)
    masks = (label_map[:, None] == label[:, :, None, None]).float()
    is_object = label > 0
    if boxes:
        corners = _boxes(masks)
        size = (corners[..., 2:] - corners[..., :2]).repeat(1, 1, 2)
        prompts = {"input_boxes": 2 * (corners + 0.06 * size * torch.randn(corners.shape)).clamp(0, _GRID)}
    else:
        points = torch.stack([pixel % _GRID, pixel // _GRID], -1) * 2 + 2 * torch.rand(b, _PROMPTS, 2) - 0.5
        prompts = {"input_points": points[:, :, None], "input_labels": torch.ones(b, _PROMPTS, 1, dtype=torch.long)}
    output = model(pixel_values=pictures, multimask_output=not boxes, **prompts)
    logits, target = output.pred_masks, masks[:, :, None].expand_as(output.pred_masks)
    probability = logits.sigmoid()
    entropy = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focal = (entropy * (probability - target).abs() ** 2).mean((-1, -2))
    dice = 1 - (2 * (probability * target).sum((-1, -2)) + 1) / (probability.sum((-1, -2)) + target.sum((-1, -2)) + 1)
    best = (20 * focal + dice).amin(-1)
    found = logits.detach() > 0
    overlap = (found & target.bool()).sum((-1, -2)) / (found | target.bool()).sum((-1, -2)).clamp_min(1)
    judged = (output.iou_scores - overlap * is_object[..., None]).square().mean(-1)
    return (best * is_object).sum() / is_object.sum().clamp_min(1) + judged.mean()


def _boxes(masks: Float[Tensor, "b p h w"]) -> Float[Tensor, "b p 4"]:
    columns, rows = masks.amax(-2) > 0, masks.amax(-1) > 0
    first = [each.int().argmax(-1) for each in (columns, rows)]
    last = [each.shape[-1] - each.flip(-1).int().argmax(-1) for each in (columns, rows)]
    return torch.stack([*first, *last], -1).float()
