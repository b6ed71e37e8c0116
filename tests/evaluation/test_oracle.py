"""The oracle: crops and masks lie where they should, centroids and yaw errors of known answers, training learns, shipped weights see."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from configs.hydra import runnable
from gen import scenes
from gen.data.augment import Augmentation
from gen.data.scenes import Scenes
from gen.evaluation.cases import DEVELOPMENT_SEED
from gen.evaluation.oracle import SIDE, Oracle, Reading, _put_back, cut, mask_centroid, shipped_oracle, yaw_error_degrees
from gen.evaluation.oracle_accuracy import _iou, oracle_accuracy
from gen.evaluation.oracle_training import OracleTraining, _overlap
from gen.models.rotation import view_yaw, yaw_phase
from gen.regions import picture_coordinates
from scripts import evaluate_oracle
from tests.one_step import composed
from train import train

BOXES = torch.tensor([[0.25, 0.375, 0.5, 0.625], [0.5, 0.25, 0.625, 0.5]])  # longer sides of 1/4, crops of 0.4


@pytest.fixture(scope="module")
def batch():
    unchanged = Augmentation(probability=0.0)
    data = Scenes(
        preset="mixed",
        num_regions=7,
        train_batch_size=8,
        twin_probability=0.0,
        source_augmentation=unchanged,
        target_augmentation=unchanged,
    )
    return next(iter(data.train_batches(seed=3)))


@pytest.fixture
def oracle() -> Oracle:
    torch.manual_seed(0)
    return Oracle(width=8, num_features=16)


def reading_of(yaw: torch.Tensor) -> Reading:
    """Return what an oracle would say that knows nothing but the yaw, given as shares of the period."""
    count, angle = len(yaw), 2 * math.pi * yaw
    sizes = {"mask": (8, 8), "present": (), "shape": (8,), "colour": (8,), "material": (3,), "features": (4,)}
    others = {name: torch.zeros(count, *size) for name, size in sizes.items()}
    return Reading(yaw=torch.stack([angle.sin(), angle.cos()], -1), **others)


def test_a_crop_shows_the_square_around_its_box():
    crops = cut(picture_coordinates(64, 64).expand(2, -1, -1, -1), BOXES)
    assert crops.shape == (2, 2, SIDE, SIDE)
    assert torch.allclose(crops.mean((2, 3)), BOXES[:, :2] + BOXES[:, 2:] - 1, atol=1e-5)
    reach = crops.amax((2, 3)) - crops.amin((2, 3))
    assert torch.allclose(reach, torch.tensor(2 * 0.4 * (SIDE - 1) / SIDE), atol=1e-5)


def test_outside_the_picture_a_crop_is_grey():
    corner = cut(torch.ones(1, 3, 64, 64), torch.tensor([[0.0, 0.0, 0.25, 0.25]]))[0, 0]
    assert corner[0].abs().max() == 0
    assert corner[-1, -1] == 1


def test_a_mask_comes_back_to_its_place_and_is_0_elsewhere():
    mask = torch.zeros(2, 64, 64)
    mask[0, 24:40, 16:32] = 1
    mask[1, 16:32, 32:40] = 1
    back = _put_back(cut(mask[:, None], BOXES)[:, 0], BOXES, 64, 64)
    assert torch.equal(back >= 0.5, mask.bool())
    assert _put_back(torch.ones(2, SIDE, SIDE), BOXES, 64, 64).mean((1, 2)).tolist() == pytest.approx([0.16, 0.16], abs=0.01)


def test_a_centroid_follows_its_mask_by_one_pixel():
    mask = torch.zeros(1, 8, 8)
    mask[0, 2:4, 3:5] = 0.9
    mask[0, 7, 7] = 0.4  # less likely than not: no part of it
    assert torch.allclose(mask_centroid(mask), torch.tensor([[4 / 8, 3 / 8]]))
    assert torch.allclose(mask_centroid(mask.roll(1, 2)), torch.tensor([[5 / 8, 3 / 8]]))


def test_an_empty_mask_has_no_centroid():
    assert mask_centroid(torch.full((1, 8, 8), 0.3)).isnan().all()


def test_yaw_errors_of_known_turns():
    spec = scenes.sample_scene(0, 0, "simple")
    looks = [("mug", "plain"), ("box", "plain"), ("torus", "plain"), ("sphere", "checker"), ("cone", "plain"), ("mug", "plain")]
    objects = [replace(spec.objects[0], shape=shape, texture=texture) for shape, texture in looks]
    objects[5] = replace(objects[5], present=False)
    spec = replace(spec, objects=tuple(objects))
    numbers, specs = [1, 2, 3, 4, 5, 6], [spec] * 6
    period = scenes.rotation_periods([spec], 7)[0, 1:]
    phase = yaw_phase(view_yaw(scenes.viewed_rotations([spec], 7)[0, 1:]), period).nan_to_num(0)
    right = yaw_error_degrees(reading_of(phase), specs, numbers)
    assert torch.allclose(right[:4], torch.zeros(4), atol=1e-3)
    assert right[4:].isnan().all()  # the cone looks the same at every turn, the last mug is absent

    def turned(degrees: float) -> torch.Tensor:
        after = replace(spec, objects=tuple(replace(item, yaw=item.yaw + math.radians(degrees)) for item in objects))
        return yaw_error_degrees(reading_of(phase), [after] * 6, numbers)[:4]

    assert torch.allclose(turned(20), torch.full((4,), 20.0), atol=1e-2)
    assert torch.allclose(turned(-350), torch.tensor([10.0] * 4), atol=1e-2)
    assert torch.allclose(turned(180), torch.tensor([180.0, 0, 0, 0]), atol=1e-2)  # only the mug shows half a turn


def test_reading_does_not_depend_on_the_other_rows(oracle):
    images, boxes = torch.rand(300, 3, 64, 64) * 2 - 1, BOXES.repeat(150, 1)
    whole, part = oracle.read(images, boxes), oracle.read(images[290:], boxes[290:])
    for name in ("mask", "present", "shape", "colour", "material", "yaw", "features"):
        assert torch.allclose(getattr(whole, name)[290:], getattr(part, name), atol=1e-5)
    assert torch.allclose(whole.shape.sum(-1), torch.ones(300), atol=1e-5)
    assert torch.allclose(whole.yaw.norm(dim=-1), torch.ones(300), atol=1e-5)
    assert oracle.read(images[:0], boxes[:0]).mask.shape == (0, 64, 64)


def test_an_empty_box_is_refused(oracle):
    with pytest.raises(ValueError, match="is empty, so nothing can be read there"):
        oracle.read(torch.zeros(1, 3, 64, 64), torch.zeros(1, 4))


def test_overlap_of_boxes():
    box = torch.tensor([0.0, 0.0, 0.5, 0.5])
    others = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 0.75, 0.5], [0.5, 0.5, 1.0, 1.0]])
    assert torch.allclose(_overlap(box, others), torch.tensor([1.0, 1 / 3, 0.0]))


def test_boxes_without_an_object_hold_none(oracle, batch):
    regions = batch.source.regions
    objects = regions.valid.clone()
    objects[:, 0] = False
    torch.manual_seed(0)
    rows, boxes = OracleTraining(oracle, absent_per_picture=20)._absent(regions.boxes(), objects, regions.masks)
    assert len(rows) > 40
    overlaps = torch.where(objects[rows], _overlap(boxes[:, None], regions.boxes()[rows]), 0)
    assert overlaps.max() < 0.2
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2 * 64).long().unbind(-1)
    assert (regions.label_map()[rows, y, x] == 0).all()


def test_training_learns_a_batch_by_heart(oracle, batch):
    model = OracleTraining(oracle, largest_shift=0.0, largest_scale=1.0)
    batch = batch[:4]
    optimizer = torch.optim.AdamW(model.parameter_groups(5e-3))
    first = model(batch)
    for _ in range(50):
        optimizer.zero_grad()
        last = model(batch)
        last.total.backward()
        optimizer.step()
    for name, share in {"mask": 0.5, "overlap": 0.6, "shape": 0.6, "colour": 0.3, "yaw": 0.7}.items():
        assert last.terms[name] < share * first.terms[name], name


def test_data_without_labels_are_refused(oracle, batch):
    with pytest.raises(ValueError, match="does not label shape, colour, material"):
        OracleTraining(oracle)(replace(batch, labels={}))


@pytest.mark.parametrize(
    ("name", "value"), [("crops_per_object", 0), ("absent_per_picture", -1), ("largest_shift", 0.5), ("largest_scale", 0.8)]
)
def test_options_out_of_range_are_refused(oracle, name, value):
    with pytest.raises(ValueError, match=f"model.{name}={value}"):
        OracleTraining(oracle, **{name: value})


def test_the_preview_shows_every_picture_three_times(oracle, batch):
    sheet = OracleTraining(oracle.eval()).preview(batch[:2])["masks"]
    assert sheet.width >= 3 * 128
    assert sheet.height >= 2 * 128


def test_what_is_saved_answers_alike_and_is_halved(oracle, batch, tmp_path):
    OracleTraining(oracle).save_pipeline(tmp_path)
    state = load_file(tmp_path / "diffusion_pytorch_model.safetensors")
    assert {value.dtype for value in state.values()} == {torch.float16}
    assert {parameter.dtype for parameter in oracle.parameters()} == {torch.float32}
    images = batch.source.pixel_values[:2]
    before, after = oracle.eval().read(images, BOXES), Oracle.from_pretrained(tmp_path).read(images, BOXES)
    assert torch.allclose(before.shape, after.shape, atol=1e-2)
    assert torch.allclose(before.mask, after.mask, atol=1e-2)


def test_mixed_scenes_show_all_that_is_scored():
    specs = [Scenes(preset="mixed")._preset(index) for index in range(8)]
    assert sorted(set(specs)) == ["five_objects", "simple", "standard", "unseen_pairs"]
    item = Scenes(preset="mixed", num_regions=7).items([0, 1, 2])
    pairs = set(zip(item[2].labels["shape"][1:].tolist(), item[2].labels["colour"][1:].tolist(), strict=True)) - {(-1, -1)}
    assert all(scenes.is_held_out(scenes.SHAPES[shape], list(scenes.COLOURS)[colour]) for shape, colour in pairs)
    assert (item[1].labels["shape"] >= 0).sum() == 5


def test_the_experiment_runs_a_step(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    small = ["dataset.train_batch_size=2", "dataset.num_validation=2", "dataset.num_workers=0", "trainer.mixed_precision=no"]
    runnable(train)(composed("+experiment=oracle", *small, "model.oracle.width=8", "trainer.max_train_steps=1", "exp=one_step"))
    AcceleratorState._reset_state(reset_partial_state=True)
    assert Oracle.from_pretrained(tmp_path / "outputs" / "one_step" / "pipeline").config["width"] == 8
    assert list((tmp_path / "outputs" / "one_step" / "previews").glob("*masks.png"))


def test_overlap_of_masks():
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, 2:6, 2:6] = True
    said = mask.float() * 0.9
    said[1] = said[1].roll(1, 1)  # 12 of 20 pixels
    said[2] = 1 - said[2]
    assert torch.allclose(_iou(said, mask), torch.tensor([1.0, 0.6, 0.0]))


def test_the_oracle_of_the_package_is_small_and_sees():
    oracle = shipped_oracle()
    assert 2 * sum(parameter.numel() for parameter in oracle.parameters()) < 3e6
    figures = oracle_accuracy(oracle, "unseen_pairs", count=24)
    assert figures["objects"] > 48
    assert figures["shape"] > 0.9
    assert figures["colour"] > 0.97
    assert figures["material"] > 0.75
    assert figures["identity"] <= min(figures[name] for name in ("shape", "colour", "material"))
    assert figures["mask_iou"] > 0.9
    assert figures["centroid_median"] < 0.01
    assert figures["yaw_median"] < 10
    assert figures["present"] > 0.97
    assert figures["absent"] > 0.9
    assert figures["residual"] < 0.05


def test_an_untrained_oracle_knows_nothing(oracle):
    figures = oracle_accuracy(oracle, count=16)
    assert figures["shape"] < 0.5
    assert figures["colour"] < 0.5
    assert figures["yaw_median"] > 20


def test_the_oracle_of_the_package_reads_boxes_that_are_a_little_off():
    spec = scenes.sample_scene(DEVELOPMENT_SEED, 5, "simple")
    rendering = scenes.render([spec], 64)
    boxes = rendering.boxes[0, 1:]
    size = boxes[:, 2:] - boxes[:, :2]
    images, oracle = rendering.pixel_values.expand(len(boxes), -1, -1, -1), shipped_oracle()
    exact = mask_centroid(oracle.read(images, boxes).mask)
    beside = mask_centroid(oracle.read(images, boxes + 0.15 * torch.cat([size, size], -1)).mask)
    assert (exact - beside).norm(dim=-1).max() < 0.03


def test_the_script_prints_what_it_writes(tmp_path, capsys):
    assert evaluate_oracle.main(["--scenes", "4", "--out", str(tmp_path)]) == 0
    written = (tmp_path / "oracle.md").read_text()
    assert "| on true renders | simple | unseen_pairs | five_objects |" in written
    assert capsys.readouterr().out.strip() in written
    figures = json.loads((tmp_path / "oracle.json").read_text())["figures"]
    assert figures["five_objects"]["objects"] == 20
    assert evaluate_oracle.main(["--oracle", str(tmp_path / "nowhere")]) == 2
