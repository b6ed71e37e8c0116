"""The pipeline folder: the same pictures after a round trip, and nothing built from it that is not a pipeline's."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from gen.artefact import ArtefactError, write_folder
from gen.models.pipeline import RegionPipeline
from gen.models.pose_embedding import CameraToken
from gen.models.source_context import SourceContext
from gen.models.tiny import tiny_pipeline, tiny_region_diffusion


@pytest.fixture(scope="module")
def pipeline() -> RegionPipeline:
    pipeline = tiny_pipeline(resolution=32, num_regions=6)
    return pipeline


@pytest.fixture
def folder(pipeline, tmp_path):
    pipeline.save_pretrained(tmp_path / "pipeline")
    return tmp_path / "pipeline"


def paint(pipeline, batch, **arguments) -> torch.Tensor:
    latents = pipeline.encode(batch.source.pixel_values, batch.source.regions)
    return pipeline.decode(latents, num_inference_steps=2, generator=torch.Generator().manual_seed(0), **arguments)


def test_saved_and_loaded_it_paints_the_same_bits(pipeline, folder, batch):
    assert torch.equal(paint(RegionPipeline.from_pretrained(folder), batch), paint(pipeline, batch))


def test_the_folder_is_safetensors_and_json_only(folder):
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} == {".json", ".safetensors"}


def test_a_folder_says_nothing_of_where_its_parts_came_from(folder, tmp_path):
    RegionPipeline.from_pretrained(folder).save_pretrained(tmp_path / "again")
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "again").rglob("*.json"))


def test_a_seed_makes_a_picture_repeatable(pipeline, batch):
    assert torch.equal(paint(pipeline, batch), paint(pipeline, batch))


def test_guidance_of_one_is_no_guidance_and_of_two_is_some(pipeline, batch):
    assert torch.equal(paint(pipeline, batch), paint(pipeline, batch, guidance_scale=1.0))
    assert not torch.equal(paint(pipeline, batch), paint(pipeline, batch, guidance_scale=2.0))


@pytest.mark.parametrize("guidance_scale", [1.0, 2.0])
def test_recorded_attention_is_of_every_step_and_changes_nothing(pipeline, batch, guidance_scale):
    maps: list[torch.Tensor] = []
    recorded = paint(pipeline, batch, guidance_scale=guidance_scale, attention_maps=maps)
    torch.testing.assert_close(recorded, paint(pipeline, batch, guidance_scale=guidance_scale), rtol=1e-4, atol=1e-5)
    assert len(maps) == 2 * pipeline.conditioner.num_cross_attention_layers


def test_erased_pixels_of_the_context_do_not_matter(pipeline, batch):
    known = torch.zeros_like(batch.changed)
    known[:, :16] = True
    other = torch.where(known[:, None], batch.context, 0.7)
    first, second = (paint(pipeline, batch, context=SourceContext(pixels, known)) for pixels in (batch.context, other))
    assert torch.equal(first, second)
    assert not torch.equal(first, paint(pipeline, batch))


def test_a_picture_of_another_size_is_refused(pipeline, batch):
    with pytest.raises(ValueError, match="16x16 .* works at 32x32"):
        pipeline.encode(batch.source.pixel_values[:, :, :16, :16], batch.source.regions)


@pytest.mark.parametrize("damage", ["missing", "flipped"])
def test_a_missing_or_damaged_file_is_named(folder, damage):
    weights = next((folder / "unet").glob("*.safetensors"))
    if damage == "missing":
        weights.unlink()
    else:
        content = bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
    with pytest.raises(ArtefactError, match=weights.name):
        RegionPipeline.from_pretrained(folder)


def test_a_class_that_is_not_a_pipelines_is_refused(folder):
    """The index is data: a folder that is whole but names another class must not make us import it."""
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["subprocess", "Popen"]

    def copy(target):
        shutil.copytree(folder, target, dirs_exist_ok=True)
        (target / "manifest.json").unlink()
        (target / "model_index.json").write_text(json.dumps(index))

    write_folder(folder.parent / "changed", copy)
    with pytest.raises(ArtefactError, match="Popen"):
        RegionPipeline.from_pretrained(folder.parent / "changed")


def test_a_pickle_is_refused_with_the_way_to_convert_it(folder):
    def copy(target):
        shutil.copytree(folder, target, dirs_exist_ok=True)
        (target / "manifest.json").unlink()
        (target / "unet" / "diffusion_pytorch_model.safetensors").rename(target / "unet" / "diffusion_pytorch_model.bin")

    write_folder(folder.parent / "pickled", copy)
    with pytest.raises(ArtefactError, match=r"diffusion_pytorch_model.bin: is a pickle.*convert it with safetensors"):
        RegionPipeline.from_pretrained(folder.parent / "pickled")


def test_a_camera_token_is_told_that_the_camera_stays_unless_it_is_told_more(batch):
    pipeline = tiny_region_diffusion(num_regions=6, conditioning={"camera": CameraToken(32)}).eval().pipeline()
    torch.nn.init.normal_(pipeline.conditioner.camera.mlp[-1].weight, generator=torch.Generator().manual_seed(0))
    same = torch.eye(3, 4).flatten().expand(len(batch), -1)
    assert torch.equal(paint(pipeline, batch), paint(pipeline, batch, camera=same))
    assert not torch.equal(paint(pipeline, batch), paint(pipeline, batch, camera=same + 0.5))


def test_what_a_pipeline_was_not_trained_with_is_refused(pipeline, batch):
    for name, value in {"camera": torch.zeros(len(batch), 12), "control": batch.context}.items():
        with pytest.raises(ValueError, match=f"{name} is given, but this pipeline"):
            paint(pipeline, batch, **{name: value})
