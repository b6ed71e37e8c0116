"""The `dataset` group, and its nested group `dataset/segmenter`.

A dataset states only what is its own; what all share (resolution, batch size, workers, segmenter, augmentation, validation pictures)
comes from `RegionData`'s fields, so `dataset=image_folder` alone changes nothing else.
"""

from __future__ import annotations

from hydra_zen import ZenStore
from omegaconf import MISSING

from configs.store import full
from gen.data.augment import Augmentation
from gen.data.image_folder import ImageFolder
from gen.data.scenes import Scenes
from gen.segmentation import Classical, GroundTruth, Superpixels, WholePicture


def add_to(store: ZenStore) -> None:
    """Add the group's entries."""
    classical = full(Classical)
    store(full(GroundTruth), group="dataset/segmenter", name="ground_truth")
    store(classical, group="dataset/segmenter", name="classical")
    store(full(Superpixels), group="dataset/segmenter", name="superpixels")
    store(full(WholePicture), group="dataset/segmenter", name="whole_picture")
    store(full(GroundTruth, fallback=classical), group="dataset/segmenter", name="masks_else_classical")

    nested = {"segmenter": MISSING, "source_augmentation": full(Augmentation), "target_augmentation": full(Augmentation)}
    store(full(Scenes, **nested, hydra_defaults=["_self_", {"segmenter": "ground_truth"}]), group="dataset", name="scenes")
    folder = full(ImageFolder, **nested, hydra_defaults=["_self_", {"segmenter": "masks_else_classical"}])
    store(folder, group="dataset", name="image_folder")
