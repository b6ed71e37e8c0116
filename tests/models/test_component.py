"""Components: what is saved is built again without its weights, and what does not fit is named."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gen.artefact import ArtefactError
from gen.models.component import WEIGHTS, Component


class Leaf(Component):
    def __init__(self, width: int = 3, sides: tuple[int, ...] = (1, 2)) -> None:
        super().__init__()
        self.linear = nn.Linear(width, sum(sides))


class NarrowLeaf(Leaf):
    def __init__(self, sides: tuple[int, ...] = (4,)) -> None:
        super().__init__(2, sides)


class Tree(Component):
    def __init__(self, trunk: Leaf, branches: dict[str, Leaf] | None = None) -> None:
        super().__init__()
        self.trunk, self.branches = trunk, nn.ModuleDict(branches or {})


@pytest.fixture
def tree() -> Tree:
    return Tree(Leaf(5), {"left": NarrowLeaf(), "right": Leaf(2, (7,))})


def test_a_round_trip_keeps_every_weight_and_every_argument(tree, tmp_path):
    tree.save_pretrained(tmp_path)
    again = Tree.from_pretrained(tmp_path)
    assert again.architecture() == tree.architecture()
    assert isinstance(again.branches["left"], NarrowLeaf) and not again.training
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in tree.state_dict().items())


def test_the_outermost_constructor_is_recorded():
    assert NarrowLeaf((1, 1)).architecture() == {"_class_name": "NarrowLeaf", "sides": [1, 1]}


def test_a_copy_is_a_component_of_its_own(tree):
    twin = copy.deepcopy(tree)
    twin.trunk.linear.weight.data.zero_()
    assert tree.trunk.linear.weight.any() and twin.architecture() == tree.architecture()


def test_weights_that_do_not_fit_are_named_with_their_shapes(tree, tmp_path):
    tree.save_pretrained(tmp_path)
    state = load_file(tmp_path / WEIGHTS)
    state["trunk.linear.weight"] = torch.zeros(3, 4)
    state["more"] = torch.zeros(1)
    del state["branches.left.linear.bias"]
    save_file(state, tmp_path / WEIGHTS)
    with pytest.raises(ArtefactError) as refused:
        Tree.from_pretrained(tmp_path)
    for said in ("missing branches.left.linear.bias [4]", "superfluous more [1]", "trunk.linear.weight is [3, 4]", "has [3, 5]"):
        assert said in str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"_class_name": "Popen"}, "'Popen' is no component"),
        ({"_class_name": "Leaf"}, "is a Leaf, not a Tree"),
        ({"roots": 3}, "cannot be built from"),
        ({"trunk": {"_class_name": "os.system"}}, "'os.system' is no component"),
        ({"trunk": {"_class_name": "Leaf", "width": -1}}, "a Leaf cannot be built from"),
        ({"trunk": {"_class_name": "Leaf", "weights": "someone/else"}}, "a Leaf with weights='someone/else'"),
    ],
)
def test_a_folder_that_says_something_else_is_refused(tree, tmp_path, change, said):
    tree.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    if config["_class_name"] == "Leaf":
        config = {"_class_name": "Leaf"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ArtefactError, match=said):
        Tree.from_pretrained(tmp_path)
