"""Fill50k: prompts, targets and conditions by line; the data's own conditioning pictures win over drawn ones."""

from __future__ import annotations

import json
import logging

import pytest
import torch
from PIL import Image, ImageDraw

from gen.data.augment import Augmentation
from gen.data.control import outlines
from gen.data.fill50k import Fill50k
from image_utils import convert, io
from tests.one_step import assert_trains_by_name

STILL = Augmentation(probability=0.0)
CIRCLES = [
    ("pale golden rod", "old lace", (20, 16, 44, 40)),
    ("light sea green", "blue", (4, 24, 30, 50)),
    ("red", "navy", (30, 30, 60, 60)),
]


@pytest.fixture
def root(tmp_path):
    lines = []
    for number, (fill, background, box) in enumerate(CIRCLES):
        target = Image.new("RGB", (64, 64), background.replace(" ", ""))
        source = Image.new("RGB", (64, 64))
        ImageDraw.Draw(target).ellipse(box, fill=fill.replace(" ", ""))
        ImageDraw.Draw(source).ellipse(box, outline="white")
        for name, image in (("source", source), ("target", target)):
            io.save_image(image, tmp_path / name / f"{number}.png")
        prompt = f"{fill} circle with {background} background"
        lines.append(json.dumps({"source": f"source/{number}.png", "target": f"target/{number}.png", "prompt": prompt}))
    (tmp_path / "prompt.json").write_text("\n".join(lines) + "\n")
    return tmp_path


def fill50k(root, **settings):
    settings = {"num_held_out": 0, "source_augmentation": STILL, "target_augmentation": STILL, "train_batch_size": 3} | settings
    return Fill50k(root=str(root), **settings)


@pytest.mark.parametrize("control", ["outlines", "edges"])
def test_the_datas_own_conditions_win(root, control):
    batch = next(fill50k(root, control=control).train_batches(seed=0))
    for row, caption in enumerate(batch.captions):
        number = [fill for fill, _, _ in CIRCLES].index(caption.split(" circle")[0])
        assert torch.equal(batch.control[row], convert.to_tensor(io.load_image(root / "source" / f"{number}.png")))
        assert torch.equal(batch.target.pixel_values[row], convert.to_tensor(io.load_image(root / "target" / f"{number}.png")))
    assert len(set(batch.captions)) == 3


def test_conditions_move_with_the_target(root):
    turned = Augmentation(probability=1.0, min_scale=0.6, max_degrees=20.0)
    batch = next(fill50k(root, control="outlines", target_augmentation=turned).train_batches(seed=1))
    for row in range(3):
        own = convert.to_tensor(io.load_image(root / "source" / "0.png"))
        assert not torch.equal(batch.control[row], own)
        border = outlines(batch.target.regions.label_map()[row : row + 1])[:, :1]
        near = torch.nn.functional.max_pool2d(border, 3, 1, 1)[0, 0] > 0
        white = batch.control[row].mean(0) > 0.2
        assert white.any()
        assert near[white].float().mean() > 0.9, "the outline lies along the border of the circle that is painted"


def test_without_control_there_are_no_conditions_and_none_are_read(root):
    (root / "source" / "1.png").write_bytes(b"this is text")
    data = fill50k(root)
    assert next(data.train_batches(seed=0)).control is None
    with pytest.raises(ValueError, match=r"source/1\.png cannot be read"):
        fill50k(root, control="edges").items([1])


def test_the_circle_is_found_and_captioned(root):
    item = fill50k(root).items([1])[0]
    assert item.caption == "light sea green circle with blue background"
    disc = item.pixel_values[1] > 0  # green
    assert torch.equal(item.label_map == 1, disc)


def test_some_are_held_out(root):
    data = fill50k(root, num_held_out=1)
    assert (len(data), len(data.validation_items(8))) == (2, 1)


class TestBadInput:
    def test_what_is_missing_is_named(self, root, caplog):
        (root / "target" / "2.png").unlink()
        with pytest.raises(ValueError, match=r"target/2\.png, named in prompt\.json, does not exist"):
            fill50k(root)
        with caplog.at_level(logging.WARNING):
            assert len(fill50k(root, on_bad_file="skip")) == 2
        (root / "prompt.json").unlink()
        with pytest.raises(ValueError, match=r"prompt\.json does not exist; dataset\.root is the folder with prompt\.json"):
            fill50k(root)

    @pytest.mark.parametrize("line", ["{", "3", '{"source": "source/0.png", "target": "target/0.png"}'])
    def test_a_bad_line_is_named(self, root, line):
        with open(root / "prompt.json", "a") as lines:
            lines.write(line)
        with pytest.raises(ValueError, match=r'prompt\.json, line 4, is not an object with "source", "target" and "prompt"'):
            fill50k(root)

    def test_a_line_with_a_number_is_named(self, root):
        (root / "prompt.json").write_text('{"source": "source/0.png", "target": 3, "prompt": ""}')
        with pytest.raises(ValueError, match=r"prompt\.json, line 1, has .* that is not a text"):
            fill50k(root)

    def test_a_path_out_of_the_root_is_refused(self, root):
        io.save_image(Image.new("RGB", (64, 64)), root.parent / "secret.png")
        text = (root / "prompt.json").read_text()
        for path in ("../secret.png", str(root.parent / "secret.png")):
            (root / "prompt.json").write_text(text.replace("target/1.png", path))
            with pytest.raises(ValueError, match=r"its files name '.*secret\.png', which is no path inside it"):
                fill50k(root)
            assert len(fill50k(root, on_bad_file="skip")) == 2

    def test_a_byte_order_mark_and_foreign_bytes_do_no_harm(self, root):
        path = root / "prompt.json"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"red circle", b"red\xff circle"))
        assert [entry.prompt[:4] for entry in fill50k(root).entries()] == ["pale", "ligh", "red\ufffd"]

    def test_a_condition_of_another_size_is_named(self, root):
        io.save_image(Image.new("RGB", (32, 64)), root / "source" / "0.png")
        with pytest.raises(ValueError, match=r"source/0\.png is 32x64 pixels but target/0\.png is 64x64"):
            fill50k(root, control="edges").items([0])


def test_one_training_step_by_name(root):
    assert_trains_by_name("fill50k", root, "dataset.num_held_out=1")
