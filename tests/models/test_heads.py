"""Heads: each learns what it is for, is silent about what is unknown, and leaves the tokens alone when it only measures."""

from __future__ import annotations

import functools
import math
from dataclasses import replace

import pytest
import torch

from gen.artefact import ArtefactError
from gen.data.batch import RegionBatch, View
from gen.models import rotation
from gen.models.component import Component
from gen.models.heads import ClassHead, Heads, PoseHead
from gen.models.rotation_head import RotationHead
from gen.regions import RegionPose, Regions

WIDTH, QUERIES = 16, 2
KINDS = ("six_d", "six_d_diffusion", "bins", "relative")
PERIODS = (360, 180, 0, -1)


def upright(azimuth: torch.Tensor, elevation: float = 0.7) -> torch.Tensor:
    """Return the rotations of objects whose viewer stands at `azimuth` of their own frame."""
    level = torch.stack([azimuth.cos(), azimuth.sin()], -1) * math.cos(elevation)
    away = -torch.cat([level, torch.full_like(level[..., :1], math.sin(elevation))], -1)
    right = torch.linalg.cross(away, torch.tensor([0.0, 0.0, 1.0]).expand_as(away))
    right = right / right.norm(dim=-1, keepdim=True)
    return torch.stack([right, torch.linalg.cross(away, right), away], -2)


def make_batch(count: int, seed: int = 0) -> RegionBatch:
    """Return background and four objects a picture, with the periods `PERIODS`."""
    generator = torch.Generator().manual_seed(seed)
    labels = (torch.arange(16) // 4 + 1).expand(count, 16, 16).clone()
    labels[:, 0] = 0
    regions = Regions.from_label_map(labels, 5)
    pose = replace(RegionPose.from_regions(regions), centre=torch.rand(count, 5, 2, generator=generator))
    pictures = torch.zeros(count, 3, 16, 16)

    def view() -> View:
        rotations = upright(torch.rand(count, 5, generator=generator) * 2 * math.pi)
        rotations[:, 0] = torch.nan
        return View(pictures, regions, pose, torch.zeros(count, 2, 16, 16), rotations)

    source, target = view(), view()
    return RegionBatch(
        source=source,
        target=target,
        context=pictures,
        changed=torch.zeros(count, 16, 16, dtype=torch.bool),
        seeds=torch.arange(count) + 1000 * seed,
        rotation_period=torch.tensor([-1, *PERIODS]).expand(count, -1).clone(),
        labels={"shape": torch.tensor([-1, 0, 1, 2, 3]).expand(count, -1).clone()},
    )


def looks(view: View, period: torch.Tensor) -> torch.Tensor:
    """Return tokens that tell exactly what is visible of each object: its yaw within the period, and which object it is."""
    angle = 2 * math.pi * rotation.yaw_phase(rotation.view_yaw(view.rotations), period).nan_to_num(0)
    own = torch.eye(5).expand(*angle.shape, 5)
    told = torch.cat([torch.stack([angle.cos(), angle.sin()], -1), own], -1)
    return torch.nn.functional.pad(told, (0, WIDTH * QUERIES - 7)).unflatten(-1, (QUERIES, WIDTH))


@functools.cache
def trained(kind: str, steps: int) -> RotationHead:
    torch.manual_seed(0)
    head = RotationHead(kind, WIDTH, QUERIES, num_bins=12, hidden=64)
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)
    for step in range(steps):
        batch = make_batch(32, seed=step)
        tokens, target = (looks(view, batch.rotation_period) for view in (batch.source, batch.target))
        loss = head.losses(tokens, target, batch, batch.source.regions.valid)["rotation"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return head


@pytest.mark.parametrize("kind", KINDS[:3])
def test_a_rotation_head_learns_what_is_visible_of_a_turn(kind):
    """Objects of period 360 and 180, seen from all around; a diffusion model needs longer."""
    head, batch = trained(kind, 400 if kind == "six_d_diffusion" else 250), make_batch(64, seed=9999)
    generator = torch.Generator().manual_seed(0)
    found = head.predict(looks(batch.source, batch.rotation_period), None, batch.rotation_period, 8, generator)
    errors = rotation.yaw_difference_degrees(found.yaw[:, :, 0], rotation.view_yaw(batch.source.rotations), batch.rotation_period)
    assert float(errors[:, 1].median()) < 12, "period 360"
    assert float(errors[:, 2].median()) < 12, "period 180"
    if kind != "bins":
        nearest = rotation.nearest_equivalent(batch.source.rotations, found.rotations[:, :, 0], batch.rotation_period)
        assert float(rotation.geodesic_degrees(nearest, found.rotations[:, :, 0])[:, 1:3].median()) < 15


def test_the_relative_head_learns_the_turn_between_two_views():
    head, batch = trained("relative", 400), make_batch(64, seed=9999)
    tokens = [looks(view, batch.rotation_period) for view in (batch.source, batch.target)]
    between = head.predict(*tokens).rotations[:, 1:3, 0]
    found = between @ batch.source.rotations[:, 1:3]
    nearest = rotation.nearest_equivalent(batch.target.rotations[:, 1:3], found, batch.rotation_period[:, 1:3])
    assert float(rotation.geodesic_degrees(nearest, found).median()) < 25  # 90 by chance at best


def test_the_diffusion_head_answers_with_both_of_two_rotations_that_look_alike():
    head, batch = trained("six_d_diffusion", 400), make_batch(8, seed=9999)
    found = head.predict(looks(batch.source, batch.rotation_period), None, batch.rotation_period, 16, torch.Generator().manual_seed(0))
    whole = torch.full((8, 16), 360)
    true = rotation.view_yaw(batch.source.rotations[:, 2])[:, None].expand(8, 16)
    near = rotation.yaw_difference_degrees(found.yaw[:, 2], true, whole) < 45
    far = rotation.yaw_difference_degrees(found.yaw[:, 2], true + math.pi, whole) < 45
    assert 0.2 < float(near.float().mean()) < 0.8 and 0.2 < float(far.float().mean()) < 0.8


def test_candidates_follow_from_the_generator():
    head, tokens = RotationHead("six_d_diffusion", WIDTH, QUERIES), torch.randn(2, 5, QUERIES, WIDTH)
    first, again, other = (head.predict(tokens, num_candidates=3, generator=torch.Generator().manual_seed(s)).rotations for s in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_unknown_or_invisible_has_no_loss_and_a_finite_gradient(kind):
    head, batch = RotationHead(kind, WIDTH, QUERIES), make_batch(3)
    tokens = torch.randn(3, 5, QUERIES, WIDTH, requires_grad=True)
    valid = batch.source.regions.valid
    head.losses(tokens, tokens, batch, valid)["rotation"].backward()
    moved = tokens.grad.flatten(2).abs().sum(-1) > 0
    assert bool(tokens.grad.isfinite().all())
    assert torch.equal(moved, torch.tensor([False, True, True, False, False]).expand(3, 5))
    unknown = replace(batch, source=replace(batch.source, rotations=torch.full((3, 5, 3, 3), torch.nan)))
    loss = head.losses(tokens, tokens, unknown, valid)["rotation"]
    assert loss == 0 and loss.requires_grad
    assert head.losses(tokens, tokens, batch, torch.zeros_like(valid))["rotation"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_turn_by_the_period_is_the_same_truth(kind):
    head, batch = RotationHead(kind, WIDTH, QUERIES), make_batch(4)
    tokens, valid = torch.randn(4, 5, QUERIES, WIDTH), batch.source.regions.valid
    half_turn = rotation.turn(torch.tensor(math.pi))

    def turned(region: int) -> torch.Tensor:
        views = [replace(view, rotations=view.rotations.clone()) for view in (batch.source, batch.target)]
        views[kind == "relative"].rotations[:, region] @= half_turn
        changed = replace(batch, source=views[0], target=views[1])
        return head.losses(tokens, tokens, changed, valid)["rotation"]

    loss = head.losses(tokens, tokens, batch, valid)["rotation"]
    if kind != "six_d_diffusion":  # which draws one of the two
        torch.testing.assert_close(turned(2), loss, rtol=1e-4, atol=1e-5)
    assert abs(float((turned(1) - loss).detach())) > 1e-3


def test_the_loss_of_a_sample_follows_from_its_seed_alone():
    head, batch = RotationHead("six_d_diffusion", WIDTH, QUERIES), make_batch(4)
    tokens, valid = torch.randn(4, 5, QUERIES, WIDTH), batch.source.regions.valid
    whole = head.losses(tokens, None, batch, valid)["rotation"]
    parts = [head.losses(tokens[i : i + 1], None, batch[i], valid[i : i + 1])["rotation"] for i in range(4)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_class_head_learns_labels_and_ignores_what_has_none():
    torch.manual_seed(0)
    head, batch = ClassHead(WIDTH, QUERIES, {"shape": 4}), make_batch(8)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    tokens = looks(batch.source, batch.rotation_period)
    for _ in range(100):
        loss = head.losses(tokens, None, batch, batch.source.regions.valid)["classes"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(head.predict(tokens)["shape"].argmax(-1)[:, 1:], batch.labels["shape"][:, 1:])
    assert loss < 0.1  # the background, whose label is unknown, does not count


def test_class_head_names_a_label_that_the_dataset_does_not_have():
    head, batch = ClassHead(WIDTH, QUERIES, {"breed": 4}), make_batch(2)
    with pytest.raises(ValueError, match="breed.*shape"):
        head.losses(torch.zeros(2, 5, QUERIES, WIDTH), None, batch, batch.source.regions.valid)


def test_pose_head_finds_position_in_tokens_that_hold_it_and_none_in_tokens_that_do_not():
    errors = []
    for holds_it in (True, False):
        torch.manual_seed(0)
        head = PoseHead(WIDTH, QUERIES, hidden=32)
        optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
        for step in range(80):
            batch = make_batch(32, seed=step)
            tokens = torch.zeros(32, 5, QUERIES, WIDTH)
            if holds_it:
                tokens[..., 0, :2] = batch.source.pose.centre
            loss = head.losses(tokens, None, batch, batch.source.regions.valid)["pose"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        errors.append(float(loss.detach()))
    assert errors[0] < 0.005 and errors[1] > 0.03  # the variance of a uniform centre, half of the numbers, is 1/24


@pytest.mark.parametrize(
    "head",
    [
        ClassHead(WIDTH, QUERIES, {"shape": 4}, True),
        PoseHead(WIDTH, QUERIES),
        *(RotationHead(k, WIDTH, QUERIES, detached=True) for k in KINDS),
    ],
)
def test_a_detached_head_leaves_the_tokens_alone_but_learns(head):
    batch, tokens = make_batch(2), torch.randn(2, 5, QUERIES, WIDTH, requires_grad=True)
    sum(head.losses(tokens, tokens, batch, batch.source.regions.valid).values()).backward()
    assert tokens.grad is None
    assert all(parameter.grad is not None for parameter in head.parameters())


def test_heads_add_up_and_come_back_from_a_folder(tmp_path):
    torch.manual_seed(0)
    parts: dict[str, Component] = {
        "what": ClassHead(WIDTH, QUERIES, {"shape": 4}),
        "turn": RotationHead("bins", WIDTH, QUERIES),
        "turned": RotationHead("relative", WIDTH, QUERIES),
        "where": PoseHead(WIDTH, QUERIES),
    }
    heads, batch, tokens = Heads(parts), make_batch(2), torch.randn(2, 5, QUERIES, WIDTH)
    assert heads.needs_target and not Heads({"what": parts["what"]}).needs_target
    valid = batch.source.regions.valid
    terms = heads.losses(tokens, tokens, batch, valid)
    assert list(terms) == ["rotation", "classes", "pose"]
    single = [head.losses(tokens, tokens, batch, valid)["rotation"] for name, head in heads.named() if name.startswith("turn")]
    assert torch.equal(terms["rotation"], single[0] + single[1])
    heads.save_pretrained(tmp_path)
    again = Heads.from_pretrained(tmp_path)
    assert [name for name, _ in again.named()] == ["turn", "turned", "what", "where"]
    assert {k: v.item() for k, v in again.losses(tokens, tokens, batch, valid).items()} == {k: v.item() for k, v in terms.items()}
    with pytest.raises(ArtefactError):
        PoseHead.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (lambda: RotationHead("bins", WIDTH, QUERIES, num_bins=1), "num_bins=1"),
        (lambda: ClassHead(WIDTH, QUERIES, {}), "classes="),
        (lambda: Heads({"x": Heads({})}), "heads.x=Heads"),
        (lambda: RotationHead("relative", WIDTH, QUERIES).predict(torch.zeros(1, 1, QUERIES, WIDTH)), "target view"),
    ],
)
def test_what_cannot_work_is_refused_by_name(build, names):
    with pytest.raises(ValueError, match=names):
        build()


def test_an_unknown_kind_is_refused_also_when_a_folder_names_it():
    with pytest.raises((ValueError, TypeError), match="euler"):  # here the type is checked first
        RotationHead("euler", WIDTH, QUERIES)
