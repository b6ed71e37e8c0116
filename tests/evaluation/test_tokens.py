"""Exported tokens: every row is one visible object with what is true of it, and a file gives back what was written."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from gen import scenes
from gen.evaluation.tokens import TokenSet, collect, read_tokens, write_tokens
from gen.scenes import COLOURS, MATERIALS, SHAPES
from scripts import export_tokens
from tests.evaluation.toy_pipelines import OwnColour, toy_pipeline


@pytest.fixture(scope="module")
def tokens() -> TokenSet:
    return collect(toy_pipeline(OwnColour()), num_scenes=40, seed=11, name="toy")


def test_labels_are_those_of_the_objects_in_order(tokens):
    """More scenes than are encoded at once, so that the order over batches counts."""
    objects = [item for number in range(40) for item in scenes.sample_scene(11, number, "simple").objects]
    assert len(tokens.tokens) == len(objects)
    assert tokens.labels["shape"].tolist() == [SHAPES.index(item.shape) for item in objects]
    assert tokens.labels["colour"].tolist() == [list(COLOURS).index(item.colour) for item in objects]
    assert tokens.labels["material"].tolist() == [MATERIALS.index(item.material) for item in objects]
    assert tokens.labels["size"].tolist() == pytest.approx([item.size for item in objects])


def test_tokens_are_those_of_their_own_object(tokens):
    """The token is the object's mean colour: red objects are red, and never the floor."""
    red, blue = (tokens.labels["colour"] == list(COLOURS).index(name) for name in ("red", "blue"))
    colour = tokens.tokens[:, 0]
    assert (colour[red, 0] > colour[red, 2]).all() and (colour[blue, 2] > colour[blue, 0]).all()


def test_places_are_the_centres_of_the_whole_boxes(tokens):
    first = scenes.sample_scene(11, 0, "simple")
    left, top, right, bottom = scenes.render([first], 32).boxes[0, 1].tolist()
    told = [float(tokens.labels[name][0]) for name in ("x", "y", "width", "height")]
    assert told == pytest.approx([(left + right) / 2, (top + bottom) / 2, right - left, bottom - top])


def test_a_file_gives_back_what_was_written(tokens, tmp_path):
    write_tokens(tmp_path / "deep" / "tokens.safetensors", tokens)
    read = read_tokens(tmp_path / "deep" / "tokens.safetensors")
    assert torch.equal(read.tokens, tokens.tokens) and read.origin == tokens.origin
    assert read.origin["pipeline"] == "toy" and read.origin["seed"] == "11"
    assert read.labels.keys() == tokens.labels.keys()
    assert all(torch.equal(read.labels[name], values) for name, values in tokens.labels.items())


@pytest.mark.parametrize(
    "content,message",
    [
        ({"label.shape": torch.zeros(3)}, "`tokens` is nothing"),
        ({"tokens": torch.zeros(3, 4)}, r"\(3, 4\)"),
        ({"tokens": torch.zeros(3, 1, 4), "label.shape": torch.zeros(2)}, "label shape"),
    ],
)
def test_a_file_that_is_no_token_set_is_refused(content, message, tmp_path):
    save_file(content, tmp_path / "tokens.safetensors")
    with pytest.raises(ValueError, match=message):
        read_tokens(tmp_path / "tokens.safetensors")


def test_a_file_of_another_format_or_none_is_refused(tmp_path):
    (tmp_path / "tokens.safetensors").write_text("no tensors")
    for path in (tmp_path / "tokens.safetensors", tmp_path / "missing.safetensors"):
        with pytest.raises(ValueError, match="cannot be read as safetensors"):
            read_tokens(path)


def test_the_script_writes_tokens_that_can_be_read(tmp_path, capsys):
    toy_pipeline().save_pretrained(tmp_path / "toy")
    path = tmp_path / "tokens.safetensors"
    assert export_tokens.main(["--pipeline", str(tmp_path / "toy"), "--out", str(path), "--scenes", "3", "--seed", "5"]) == 0
    read = read_tokens(path)
    assert read.origin["pipeline"] == "toy" and read.origin["seed"] == "5"
    assert f"{len(read.tokens)} objects" in capsys.readouterr().out
    assert export_tokens.main(["--pipeline", str(tmp_path / "none"), "--out", str(path)]) == 2
