"""Networks of the SAM family with random weights, small enough for tests: 64 x 64 pixels, 4 x 4 cells, masks of 16 x 16."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn

from gen.segmentation.sams.segment_anything_package import import_segment_anything

SIDE, WIDTH = 64, 32
_VISION = {"image_size": SIDE, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 64, "output_channels": WIDTH}
_VISION |= {"window_size": 3, "global_attn_indexes": [1], "num_pos_feats": WIDTH // 2}
_PROMPT = {"image_size": SIDE, "image_embedding_size": SIDE // 16, "hidden_size": WIDTH}
_DECODER = {"hidden_size": WIDTH, "num_attention_heads": 8, "mlp_dim": 64, "iou_head_hidden_dim": WIDTH}


def randomised(network: Any, seed: int = 0, std: float = 0.25) -> Any:
    """Draw weights with which prompts matter, so that masks differ, and predicted IoUs of all sizes within [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if "norm" not in name:
            nn.init.normal_(weight, std=std, generator=generator)
    for name, values in network.named_buffers():
        if "positional" in name:
            nn.init.normal_(values, generator=generator)
    with torch.no_grad():
        head = network.mask_decoder.iou_prediction_head
        last = head.layers[-1] if hasattr(head, "sigmoid_output") and not hasattr(head, "proj_out") else head.proj_out
        last.bias.fill_(0.6)
    return network.eval()


def package_sam() -> Any:
    modeling = import_segment_anything().modeling
    grid = SIDE // 16
    encoder = modeling.ImageEncoderViT(
        img_size=SIDE,
        embed_dim=32,
        depth=2,
        num_heads=2,
        mlp_ratio=2,
        out_chans=WIDTH,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=3,
        global_attn_indexes=(1,),
    )
    prompts = modeling.PromptEncoder(WIDTH, (grid, grid), (SIDE, SIDE), 16)
    transformer = modeling.TwoWayTransformer(2, WIDTH, 8, 64)
    decoder = modeling.MaskDecoder(transformer_dim=WIDTH, transformer=transformer, iou_head_hidden_dim=WIDTH)
    return randomised(modeling.Sam(encoder, prompts, decoder))


def transformers_sam() -> Any:
    from transformers import SamConfig, SamModel

    return randomised(SamModel(SamConfig(vision_config=_VISION, prompt_encoder_config=_PROMPT, mask_decoder_config=_DECODER)))


def transformers_sam_hq() -> Any:
    from transformers import SamHQConfig, SamHQModel

    decoder = {**_DECODER, "vit_dim": 32}
    return randomised(SamHQModel(SamHQConfig(vision_config=_VISION, prompt_encoder_config=_PROMPT, mask_decoder_config=decoder)))


def sam2_parts() -> dict[str, Any]:
    """Return the configuration that pictures and videos share."""
    backbone = {"model_type": "sam2_hiera_det_model", "hidden_size": 8, "image_size": [SIDE, SIDE], "blocks_per_stage": [1, 1, 2, 1]}
    backbone |= {"embed_dim_per_stage": [8, 16, 32, 64], "num_attention_heads_per_stage": [1, 2, 4, 8], "num_attention_heads": 1}
    backbone |= {"window_size_per_stage": [4, 2, 2, 2], "global_attention_blocks": [3]}
    sizes = [[SIDE // 4] * 2, [SIDE // 8] * 2, [SIDE // 16] * 2]
    vision = {"backbone_config": backbone, "backbone_channel_list": [64, 32, 16, 8], "backbone_feature_sizes": sizes}
    return {
        "vision_config": {**vision, "fpn_hidden_size": WIDTH},
        "prompt_encoder_config": {"hidden_size": WIDTH, "image_size": SIDE},
        "mask_decoder_config": _DECODER,
    }


def transformers_sam2() -> Any:
    from transformers import Sam2Config, Sam2Model

    return randomised(Sam2Model(Sam2Config(**sam2_parts())))
