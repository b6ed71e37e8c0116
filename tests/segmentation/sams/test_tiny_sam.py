"""The tiny network: what trains it, and that the one that comes with the package is worth having."""

from __future__ import annotations

import torch

from gen import scenes
from gen.evaluation.segmentation_metrics import score_segmenter
from gen.segmentation.sams.sam import Sam
from gen.segmentation.sams.tiny_sam import new_tiny_sam, prompt_loss, scene_batch
from scripts.train_tiny_sam import main


def test_it_finds_the_objects_of_plain_scenes():
    """The figures on more scenes are in docs/results/masks."""
    rendered = scenes.render([scenes.sample_scene(14, number, "simple") for number in range(6)], 64)
    score = score_segmenter(Sam(weights="tiny", points_per_side=16, device="cpu"), rendered.pixel_values, rendered.label_map)
    assert score.mbo_pictures > 0.5 and score.ari > 0.5, score


def test_the_shipped_folder_is_small():
    folder = Sam.sizes()["tiny"]
    network = Sam(weights=folder, device="cpu", dtype="fp32").network().network
    assert sum(weight.numel() for weight in network.parameters()) < 2_000_000
    assert network.config.vision_config.image_size == 128


def test_pictures_and_labels_are_augmented_together():
    """A white square on black stays where its label is, unless the picture ends before it."""
    torch.manual_seed(0)
    label_map = torch.zeros(16, 64, 64, dtype=torch.long)
    label_map[:, 20:40, 5:25] = 1
    pictures, labels = scene_batch((label_map * 2.0 - 1)[:, None].expand(-1, 3, -1, -1), label_map)
    assert pictures.shape == (16, 3, 128, 128)
    small = torch.nn.functional.avg_pool2d(pictures.mean(1, keepdim=True), 2)[:, 0]
    padded = (pictures == 0).all(1)[:, ::2, ::2]
    for picture, label, outside in zip(small, labels, padded, strict=True):
        assert not (label[outside] > 0).any()
        if not ((label == 1) & ~outside).any():
            continue  # the padding begins before the square
        assert picture[(label == 1) & ~outside].mean() > picture[(label == 0) & ~outside].mean() + 1
    assert 0 < padded.any((1, 2)).sum() < 16
    columns = (labels == 1).any(1).int().argmax(1)
    assert len(columns.unique()) > 1, "some are mirrored"


def test_training_lowers_the_loss_of_every_kind_of_prompt():
    torch.manual_seed(0)
    rendered = scenes.render([scenes.sample_scene(15, number, "simple") for number in range(2)], 64)
    model = new_tiny_sam()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses: dict[bool, list[float]] = {False: [], True: []}
    for step in range(16):
        loss = prompt_loss(model, *scene_batch(rendered.pixel_values, rendered.label_map), boxes=step % 2 == 1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses[step % 2 == 1].append(loss.item())
    for values in losses.values():
        assert sum(values[-3:]) < sum(values[:3])


def test_the_script_saves_what_loads(tmp_path):
    assert main(["--out", str(tmp_path), "--steps", "4", "--scenes", "3", "--batch_size", "2", "--seed", "1"]) == 0
    network = Sam(weights=str(tmp_path), device="cpu", dtype="fp32").network()
    assert network.image_size == 128
    assert (tmp_path / "model.safetensors").stat().st_size < 4_000_000
