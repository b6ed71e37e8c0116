"""The `model` group: one model, composed of parts; every part that can be exchanged is a nested group.

What a part shares with the others is read from their config: tokens are as wide as the region encoder makes them, pictures as large as the
dataset's.
"""

from __future__ import annotations

from hydra_zen import ZenStore

from configs.store import full
from gen.evaluation.oracle import Oracle
from gen.evaluation.oracle_training import OracleTraining
from gen.losses import LossWeights
from gen.models.conditioner import Conditioner
from gen.models.decoder import small_decoder
from gen.models.erasing import ContextErasing
from gen.models.heads import ClassHead, Heads, PoseHead
from gen.models.image_backbone import ConvBackbone
from gen.models.layer_tokens import LayerTokens, RegionGate
from gen.models.layout_map import LayoutMap
from gen.models.modulation import LayerModulation
from gen.models.pose_embedding import CameraToken, PoseConcat, PoseFiLM
from gen.models.pretrained_backbone import TransformersBackbone
from gen.models.pretrained_text_encoder import PretrainedTextEncoder
from gen.models.region_crop_encoder import RegionCropEncoder
from gen.models.region_diffusion import RegionDiffusion
from gen.models.region_encoder import RegionEncoder
from gen.models.region_visibility import RegionVisibility
from gen.models.rotation_head import RotationHead
from gen.models.source_pose_encoder import SourcePoseEncoder
from gen.models.sprite_layout import SpriteLayout
from gen.models.stable_diffusion import stable_diffusion_decoder
from gen.models.text_encoder import CaptionEncoder
from gen.models.timm_backbone import TimmBackbone
from gen.models.tuning import Tuning
from gen.scenes import COLOURS, MATERIALS, SHAPES, VOCABULARY

WIDTH = {"width": "${model.region_encoder.width}"}
TOKENS = WIDTH | {"num_queries": "${model.region_encoder.num_queries}"}
CLASSES = {"shape": len(SHAPES), "colour": len(COLOURS), "material": len(MATERIALS)}

BACKBONES = {
    "conv": full(ConvBackbone, width="${model.region_encoder.width}", in_channels=4),
    "dinov2": full(TransformersBackbone, weights="facebook/dinov2-with-registers-base"),
    "dinov3": full(TransformersBackbone, weights="facebook/dinov3-vitb16-pretrain-lvd1689m"),
    "clip": full(TransformersBackbone, weights="openai/clip-vit-large-patch14"),
    "siglip": full(TransformersBackbone, weights="google/siglip-base-patch16-224"),
    "resnet": full(TransformersBackbone, weights="microsoft/resnet-50"),
    "timm": full(TimmBackbone),
}
PARTS = {
    "model/region_encoder/backbone": BACKBONES,
    "model/region_encoder": {
        "regions": full(RegionEncoder, backbone=None, hydra_defaults=["_self_", {"backbone": "conv"}]),
        "crops": full(RegionCropEncoder, backbone=None, hydra_defaults=["_self_", {"backbone": "conv"}]),
        "source_pose": full(SourcePoseEncoder),
    },
    "model/decoder": {
        "small": full(small_decoder, cross_attention_dim="${model.region_encoder.width}"),
        "stable_diffusion": full(stable_diffusion_decoder),
    },
    "model/conditioner/pose": {"film": full(PoseFiLM, **WIDTH), "concat": full(PoseConcat, **WIDTH)},
    "model/conditioner/layout": {"map": full(LayoutMap, **TOKENS), "sprites": full(SpriteLayout, **TOKENS)},
    "model/conditioner/text": {
        "captions": full(CaptionEncoder, **WIDTH, vocabulary=list(VOCABULARY)),
        "pretrained": full(PretrainedTextEncoder, region_width="${model.region_encoder.width}"),
    },
    "model/conditioner/layers": {"own_tokens": full(LayerTokens)},
    "model/conditioner/gate": {"tanh": full(RegionGate)},
    "model/conditioner/visibility": {"boxes": full(RegionVisibility)},
    "model/conditioner/modulation": {"mean_token": full(LayerModulation, **WIDTH)},
    "model/conditioner/camera": {"token": full(CameraToken, **WIDTH)},
    "model/heads": {
        "classes": full(Heads, heads={"classes": full(ClassHead, **TOKENS, classes=CLASSES)}),
        "rotation": full(Heads, heads={"rotation": full(RotationHead, **TOKENS)}),
        "rotation_and_turn": full(
            Heads, heads={"rotation": full(RotationHead, **TOKENS), "turn": full(RotationHead, kind="relative", **TOKENS)}
        ),
        "pose": full(Heads, heads={"pose": full(PoseHead, **TOKENS)}),
        "classes_and_rotation": full(
            Heads, heads={"classes": full(ClassHead, **TOKENS, classes=CLASSES), "rotation": full(RotationHead, **TOKENS)}
        ),
    },
}
CHOSEN = {
    "region_encoder": "regions", "decoder": "small", "heads": None, "conditioner/pose": "film", "conditioner/layout": "map",
    "conditioner/text": "captions", "conditioner/layers": None, "conditioner/gate": None, "conditioner/visibility": None,
    "conditioner/modulation": None, "conditioner/camera": None,
}  # fmt: skip


def add_to(store: ZenStore) -> None:
    """Add the group's entries."""
    for group, entries in PARTS.items():
        for name, entry in entries.items():
            store(entry, group=group, name=name)
    conditioner = full(Conditioner, **TOKENS, cross_attention_dim="${model.decoder.cross_attention_dim}")
    model = full(
        RegionDiffusion,
        region_encoder=None,
        conditioner=conditioner,
        decoder=None,
        context_erasing=full(ContextErasing),
        loss_weights=full(LossWeights, max_train_steps="${trainer.max_train_steps}"),
        encoder_tuning=full(Tuning),
        backbone_tuning=full(Tuning),
        decoder_tuning=full(Tuning),
        resolution="${dataset.resolution}",
        num_regions="${dataset.num_regions}",
        hydra_defaults=["_self_", *({part: entry} for part, entry in CHOSEN.items())],
    )
    store(model, group="model", name="region_diffusion")
    store(full(OracleTraining, oracle=full(Oracle)), group="model", name="oracle")
