"""A user's script, for the type checker: every call of the front door with the type that it promises; it is never run."""

# mypy: disallow-any-expr, disallow-any-generics, disallow-untyped-defs, disallow-untyped-calls, warn-return-any, no-implicit-reexport
from __future__ import annotations

from typing import assert_type

from PIL.Image import Image
from torch import Tensor, device

from gen import LatentImage, RegionLatents, RegionPipeline, RegionPose, Regions, edits
from gen.gallery import PANELS, PanelName, Previews
from gen.gallery.panel import Panel, Sampling, shown, stacked, subject
from gen.gallery.position_sweep import position_sweep
from gen.gallery.unchanged import difference_map, psnr_elsewhere

loaded = RegionPipeline.from_pretrained("folder", device="cpu")  # type: ignore[misc]  # its constructor takes diffusers' untyped parts
pipeline = assert_type(loaded, RegionPipeline)
assert_type(pipeline.to("cuda"), RegionPipeline)
assert_type(pipeline.device, device)
assert_type(pipeline.resolution, int)

picture = assert_type(LatentImage.open(pipeline, "photo.png", caption="a cup"), LatentImage)
assert_type(LatentImage.encode(pipeline, picture.image, picture.regions), LatentImage)
assert_type(picture.refined(num_steps=10), LatentImage)
assert_type(picture.objects, list[int])
assert_type(picture.numbered(), Image)

latents = assert_type(picture.latents, RegionLatents)
assert_type(latents.tokens, Tensor)
assert_type(latents.pose, RegionPose)
assert_type(latents.pose.boxes(), Tensor)
assert_type(latents[0], RegionLatents)
assert_type(latents.to("cuda"), RegionLatents)
assert_type(latents.pose[[0, 0]].to(device("cpu")), RegionPose)
assert_type(picture.regions[:1], Regions)
assert_type(pipeline.encode(picture.pixel_values, picture.regions), RegionLatents)
assert_type(pipeline.decode(latents), Tensor)

assert_type(edits.move(latents, region=1, dx=0.1, dy=0.1), RegionLatents)
assert_type(edits.resize(latents, 1, (1.0, 2.0)), RegionLatents)
assert_type(edits.flip(latents, 1), RegionLatents)
assert_type(edits.rotate(latents, 1, degrees=30), RegionLatents)
assert_type(edits.turn(latents, 1, degrees=30), RegionLatents)
assert_type(edits.remove(latents, 1), RegionLatents)
assert_type(edits.keep(latents, 1, background=False), RegionLatents)
assert_type(edits.swap(latents, 1, 2), RegionLatents)
assert_type(edits.copy(latents, 1, 0.1, 0.1), RegionLatents)
assert_type(edits.insert(latents, latents, 1, centre=(0.5, 0.5)), RegionLatents)
assert_type(edits.interpolate(latents, 1, latents, 2, weight=0.5), RegionLatents)

assert_type(picture.changed(latents), Tensor)
assert_type(picture.paint(latents, seed=1, guidance_scale=2.0), Image)
assert_type(picture.paint_all([latents, latents], composite=False), list[Image])
painted = assert_type(picture.paint_pixels(latents, context=False), edits.EditedPixels)
assert_type(painted.pixel_values, Tensor)
assert_type(picture.at_full_size(painted), list[Image])

steps: tuple[edits.Edit, ...] = (
    edits.Move(1, 0.1, 0.1), edits.Resize(1, 1.5), edits.Flip(1), edits.Rotate(1, 30.0), edits.Turn(1, 30.0), edits.Remove(2),
    edits.Keep(1), edits.Swap(1, 3), edits.Copy(1, 0.1, 0.1), edits.Insert("other", 1, 0.5, 0.5), edits.Interpolate(1, "other", 1, 0.5),
)  # fmt: skip
plan = edits.EditPlan(steps, seed=3)
assert_type(edits.from_json(edits.to_json(plan)), edits.EditPlan)
assert_type(edits.apply(plan, latents, {"other": latents}), RegionLatents)
result = assert_type(edits.edit_image(pipeline, picture.image, picture.regions, plan), edits.EditResult)
assert_type(result.image, Image)
assert_type(edits.edit_pixels(pipeline, picture.pixel_values, picture.regions, plan), edits.EditedPixels)

panel = assert_type(position_sweep(picture, subject(picture), Sampling(seed=1)), Panel)
assert_type(stacked([panel, panel]).figures, dict[str, float])
assert_type(panel.frames, list[Image])
assert_type(shown(difference_map(picture.image, picture.image)), Image)
assert_type(psnr_elsewhere(picture, painted), Tensor)
assert_type(PANELS, tuple[PanelName, ...])
assert_type(Previews(panels=("edits", "position_sweep"), num_pictures=2).panels, tuple[PanelName, ...])
