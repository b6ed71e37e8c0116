"""Retrieval finds the object itself, the planted class, and nothing where nothing is planted; crops show the objects of the rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen import scenes
from gen.evaluation.retrieval import alike, crops, nearest, retrieval
from gen.evaluation.tokens import TEST_SEED, TokenSet, collect
from gen.models.tiny import tiny_pipeline
from image_utils.convert import to_tensor


def planted(count: int, seed: int) -> TokenSet:
    """Shape is coded in four of the numbers; material is not."""
    generator = torch.Generator().manual_seed(seed)
    shape, material = torch.randint(4, (count,), generator=generator), torch.randint(3, (count,), generator=generator)
    tokens = torch.cat([10 * torch.eye(4)[shape], torch.randn(count, 2, generator=generator)], 1)[:, None]
    return TokenSet(tokens, {"shape": shape, "material": material}, {})


def test_an_object_of_the_library_finds_itself_first():
    library = planted(50, 0)
    found = nearest(library, library, 3)
    assert torch.equal(found.rows[:, 0], torch.arange(50))
    assert found.distance[:, 0].abs().max() < 1e-5
    assert (found.distance.diff(dim=1) >= 0).all()


def test_what_is_coded_is_alike_and_what_is_not_is_chance():
    library, queries = planted(300, 0), planted(200, 1)
    figures = retrieval(library, queries, 5, ("shape", "material"))
    assert figures["shape_alike"] > 0.95
    assert abs(figures["material_alike"] - figures["material_alike_chance"]) < 0.05


def test_chance_is_the_share_of_the_querys_class_in_the_library():
    library, queries = planted(40, 0), planted(10, 1)
    library.labels["shape"][:] = torch.tensor([1] * 30 + [2] * 10)
    queries.labels["shape"][:] = torch.tensor([1] * 4 + [2] * 6)
    assert retrieval(library, queries, 2, ("shape",))["shape_alike_chance"] == pytest.approx(0.4 * 0.75 + 0.6 * 0.25)


def test_a_share_is_counted_over_the_neighbours():
    library, queries = planted(60, 0), planted(5, 1)
    found = nearest(library, queries, 4)
    queries.labels["shape"][0] = library.labels["shape"][found.rows[0, 0]]
    expected = sum(int(library.labels["shape"][row] == queries.labels["shape"][0]) for row in found.rows[0]) / 4
    assert float(alike(found, library, queries, "shape")[0]) == expected


def test_what_cannot_be_asked_is_refused():
    library = planted(5, 0)
    with pytest.raises(ValueError, match="count=6 neighbours among 5 objects"):
        nearest(library, library, 6)
    with pytest.raises(ValueError, match="queries of 3 numbers among objects of 6; read both with one pipeline"):
        nearest(library, replace(library, tokens=library.tokens[..., :3]), 2)
    with pytest.raises(ValueError, match="label 'colour' is not in both sets; choose one of material, shape"):
        alike(nearest(library, library, 1), library, library, "colour")
    with pytest.raises(ValueError, match=r"does not tell split, seed, scenes, resolution; take tokens from `collect`"):
        crops(library)


def test_crops_show_the_objects_of_the_rows():
    tokens = collect(tiny_pipeline(), 6, seed=TEST_SEED)
    pictures = crops(tokens, 24)
    assert len(pictures) == len(tokens.tokens)
    colours = torch.tensor(list(scenes.COLOURS.values()))
    middles = torch.stack([(to_tensor(picture)[:, 6:18, 6:18].mean((1, 2)) + 1) / 2 for picture in pictures])
    hue = torch.nn.functional.normalize(middles - middles.mean(1, keepdim=True), dim=1)
    named = (hue @ torch.nn.functional.normalize(colours - colours.mean(1, keepdim=True), dim=1).mT).argmax(1)
    coloured = tokens.labels["colour"] != list(scenes.COLOURS).index("white")  # which has no hue
    assert (named == tokens.labels["colour"])[coloured].float().mean() > 0.6  # an eighth is chance
    with pytest.raises(ValueError, match=rf"6 scenes show {len(pictures)} objects, not 1; give all rows"):
        crops(replace(tokens, tokens=tokens.tokens[:1], labels={}))
