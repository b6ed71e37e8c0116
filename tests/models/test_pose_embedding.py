"""Pose: what is unknown is said to be unknown, and every way of telling a pose tells it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.models.pose_embedding import CameraToken, PoseConcat, PoseFiLM, pose_features
from tests.models.toy_conditioning import toy_conditioner, toy_latents


def test_an_unknown_depth_or_yaw_is_zeros_with_its_flag_down():
    """NaN for a region is the same as a pose without the field; a known 0 is not."""
    pose = toy_latents().pose
    depth = torch.full_like(pose.flip, torch.nan)
    yaw = torch.full_like(pose.centre, torch.nan)
    assert torch.equal(pose_features(replace(pose, depth=depth, yaw=yaw)), pose_features(pose))
    depth[:, 1], yaw[:, 2] = 0.0, torch.tensor([0.0, 1.0])
    features = pose_features(replace(pose, depth=depth, yaw=yaw))
    assert features.isfinite().all()
    assert features[0, :, -5:].tolist() == [[0] * 5, [0, 1, 0, 0, 0], [0, 0, 0, 1, 1], [0] * 5]


@pytest.mark.parametrize("part", [PoseFiLM, PoseConcat])
@pytest.mark.parametrize("field", ["centre", "size", "flip", "angle", "depth", "yaw"])
def test_every_field_reaches_its_own_region_only(part, field):
    torch.manual_seed(0)
    pose = toy_latents().pose
    pose = replace(pose, depth=torch.ones_like(pose.flip), yaw=torch.ones_like(pose.centre))
    changed = getattr(pose, field).clone()
    changed[:, 2] += 0.3
    module = part(32)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    tokens = toy_latents().tokens
    differs = (module(tokens, pose) != module(tokens, replace(pose, **{field: changed}))).flatten(2).any(-1)
    assert differs.tolist() == [[False, False, True, False]] * 2


def test_a_poses_gradient_is_finite_where_something_is_unknown():
    pose = toy_latents().pose
    centre = pose.centre.clone().requires_grad_()
    unknown = replace(pose, centre=centre, depth=torch.full_like(pose.flip, torch.nan))
    pose_features(unknown).sum().backward()
    assert centre.grad.isfinite().all()


def test_the_camera_is_one_token_that_is_absent_where_it_is_unknown():
    conditioner = toy_conditioner(camera=CameraToken(32), text=None)
    camera = torch.zeros(2, 12)
    camera[1, 3] = torch.nan
    told = conditioner(toy_latents(), 8, camera=camera)
    assert told.token_region.tolist()[:5] == [-1, -1, -1, -1, 0]
    assert told.attention_mask[:, 3].tolist() == [True, False] and told.encoder_hidden_states.isfinite().all()
    assert conditioner(toy_latents(), 8).attention_mask[:, 3].tolist() == [False, False]
    moved = conditioner(toy_latents(), 8, camera=camera + 1)
    differs = (moved.encoder_hidden_states != told.encoder_hidden_states).any(-1)
    assert differs.nonzero().tolist() == [[0, 3]]
