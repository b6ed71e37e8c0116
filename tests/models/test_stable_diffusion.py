"""Stable Diffusion from a folder: what diffusers would paint is painted, and what does not fit is named before any training."""

from __future__ import annotations

import json
import shutil
import time

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from gen.artefact import ArtefactError
from gen.models.stable_diffusion import pretrained_text_encoder, stable_diffusion_decoder
from tests.models.toy_stable_diffusion import write_toy_stable_diffusion

WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return write_toy_stable_diffusion(tmp_path_factory.mktemp("stable_diffusion") / "toy")


@pytest.fixture
def folder(original, tmp_path):
    """Copy it, so that a test may damage it."""
    return shutil.copytree(original, tmp_path / "toy")


def load(folder, **arguments):
    return stable_diffusion_decoder(weights=str(folder), **{"cross_attention_dim": 32, **arguments})


def change_weights(path, change) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path, {"format": "pt"})


def change_config(path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_it_paints_what_diffusers_paints(folder):
    """The same tokens and noise through diffusers' own pipeline with DDIM, without guidance, and through ours."""
    from diffusers import StableDiffusionPipeline

    theirs = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    theirs.scheduler = DDIMScheduler.from_config(theirs.scheduler.config, clip_sample=False)
    theirs.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    tokens, noise = torch.randn(1, 5, 32, generator=generator), torch.randn(1, 4, 8, 8, generator=generator)
    expected = theirs(prompt_embeds=tokens, latents=noise, guidance_scale=1.0, num_inference_steps=5, output_type="pt").images
    ours = load(folder)
    with torch.no_grad():
        latents = ours.noise.sample(lambda x, t: ours.unet(x, t, encoder_hidden_states=tokens, return_dict=False)[0], noise, 5)
    torch.testing.assert_close(ours.latent_space.decode(latents) / 2 + 0.5, expected, atol=1e-4, rtol=0)


def test_the_folders_noise_is_kept_and_a_sampler_chosen(folder):
    ddim, solver = load(folder), load(folder, sampler="dpm_solver")
    assert isinstance(ddim.noise.scheduler, DDIMScheduler) and isinstance(solver.noise.scheduler, DPMSolverMultistepScheduler)
    for made in (ddim, solver):
        config = made.noise.scheduler.config
        assert (config.prediction_type, config.beta_start, config.steps_offset) == ("epsilon", 0.00085, 1)
    assert not ddim.noise.scheduler.config.clip_sample and not solver.noise.scheduler.config.thresholding


def test_what_is_predicted_can_be_changed(folder):
    assert load(folder, prediction_type="v_prediction").noise.prediction_type == "v_prediction"
    assert load(folder, prediction_type="flow", sampler="euler_flow").noise.prediction_type == "flow"
    with pytest.raises(ValueError, match="sampler=ddim: cannot sample model.decoder.prediction_type=flow"):
        load(folder, prediction_type="flow")


def test_a_folder_of_the_second_generation_predicts_v(tmp_path):
    folder = write_toy_stable_diffusion(tmp_path / "toy", cross_attention_dim=64, prediction_type="v_prediction")
    assert load(folder, cross_attention_dim=64).noise.prediction_type == "v_prediction"


def test_an_instructpix2pix_folder_has_the_pictures_channels(tmp_path):
    made = load(write_toy_stable_diffusion(tmp_path / "toy", image_channels=4))
    assert (made.unet.config.in_channels, made.image_channels, made.latent_space.channels) == (8, 4, 4)
    made.widen(3)
    assert made.unet.conv_in.weight.shape[1] == 11 and made.unet.conv_in.weight[:, 8:].abs().max() == 0


def test_widened_it_paints_at_first_as_before(folder):
    made = load(folder)
    x, tokens = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 32)
    before = made.unet(x, 10, encoder_hidden_states=tokens).sample
    made.widen(6)
    torch.testing.assert_close(made.unet(torch.cat([x, torch.randn(1, 6, 8, 8)], 1), 10, encoder_hidden_states=tokens).sample, before)


def test_half_precision_weights_are_trained_in_full(folder):
    change_weights(folder / "unet" / WEIGHTS, lambda state: state.update({key: value.half() for key, value in state.items()}))
    assert {parameter.dtype for parameter in load(folder).parameters()} == {torch.float32}


def test_weights_in_shards_are_loaded(folder):
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    shutil.rmtree(folder / "unet")
    unet.save_pretrained(folder / "unet", max_shard_size="100KB")
    assert len(list((folder / "unet").glob("*.safetensors"))) > 1
    for key, value in load(folder).unet.state_dict().items():
        assert torch.equal(value, unet.state_dict()[key])


def test_the_first_autoencoders_names_are_understood(folder):
    """Stable Diffusion 1's published autoencoder names the projections of its attention differently."""
    made = load(folder)
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(state):
        for key in [key for key in state if ".attentions." in key]:
            for new, old in names.items():
                if f".{new}." in key:
                    state[key.replace(new, old)] = state.pop(key)
        assert sum(".proj_attn." in key for key in state) == 4

    change_weights(folder / "vae" / WEIGHTS, rename)
    pixels = torch.rand(1, 3, 16, 16)
    assert torch.equal(load(folder).latent_space.encode(pixels), made.latent_space.encode(pixels))


@pytest.mark.parametrize(("part", "key", "shape"), [
    ("unet", "mid_block.resnets.0.conv1.weight", r"\[32, 32, 3, 3\]"), ("vae", "decoder.conv_in.bias", r"\[16\]"),
])  # fmt: skip
def test_a_missing_weight_is_named_with_its_shape(folder, part, key, shape):
    """Diffusers itself would go on with random numbers in its place."""
    change_weights(folder / part / WEIGHTS, lambda state: state.pop(key))
    with pytest.raises(ArtefactError, match=rf"{part}: does not fit .*: missing {key} {shape}"):
        load(folder)


def test_a_weight_of_another_shape_is_named_with_both(folder):
    change_weights(folder / "unet" / WEIGHTS, lambda state: state.update({"conv_in.weight": torch.zeros(16, 5, 3, 3)}))
    with pytest.raises(ArtefactError, match=r"conv_in.weight is \[16, 5, 3, 3\] where the architecture has \[16, 4, 3, 3\]"):
        load(folder)


def test_a_weight_too_many_is_named(folder):
    change_weights(folder / "unet" / WEIGHTS, lambda state: state.update({"conv_more.weight": torch.zeros(1)}))
    with pytest.raises(ArtefactError, match="superfluous conv_more.weight"):
        load(folder)


def test_tokens_of_another_width_are_refused_with_both_numbers_and_the_remedy(folder):
    expected = r"cross_attention_dim=768: the U-Net of .* attends to tokens of width 32; give model.decoder.cross_attention_dim=32"
    with pytest.raises(ValueError, match=expected):
        load(folder, cross_attention_dim=768)


def test_an_autoencoder_of_other_latents_is_refused(folder, tmp_path):
    other = write_toy_stable_diffusion(tmp_path / "other", latent_channels=8)
    shutil.rmtree(folder / "vae")
    shutil.copytree(other / "vae", folder / "vae")
    with pytest.raises(ValueError, match="the U-Net paints 4 channels, but the latents have 8"):
        load(folder)


def test_a_pickle_is_not_loaded(folder):
    (folder / "unet" / WEIGHTS).rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ArtefactError, match=r"holds only diffusion_pytorch_model.bin, a pickle.*convert it with safetensors"):
        load(folder)


def test_a_cut_file_is_named(folder):
    path = folder / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ArtefactError, match="unet: cannot be loaded as UNet2DConditionModel"):
        load(folder)


@pytest.mark.parametrize("missing", ["unet/config.json", "scheduler/scheduler_config.json", "vae/config.json"])
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(ArtefactError, match=missing):
        load(folder)


@pytest.mark.parametrize("name", ["stable-diffusion-v1-5/stable-diffusion-v1-5", "no/such/folder"])
def test_without_a_network_a_name_fails_soon_and_says_what_to_do(name):
    begin = time.monotonic()
    with pytest.raises(ArtefactError, match=rf"model.decoder.weights={name}: is no folder .*hf download {name}"):
        stable_diffusion_decoder(weights=name)
    assert time.monotonic() - begin < 5


def test_checkpointing_reaches_the_unet(folder):
    assert load(folder, gradient_checkpointing=True).unet.is_gradient_checkpointing


def test_the_text_encoder_reads_words(folder):
    tokenizer, model = pretrained_text_encoder(str(folder))
    red, blue = (tokenizer(words, padding="max_length", return_tensors="pt") for words in ("a red cube", "a blue cube"))
    assert red.input_ids.shape == (1, 77) and tokenizer.decode(red.input_ids[0], skip_special_tokens=True).strip() == "a red cube"
    assert not torch.equal(model(**red).last_hidden_state, model(**blue).last_hidden_state)


def test_a_tokenizer_without_its_words_is_refused(folder):
    """Transformers gives one of two tokens, without an error."""
    (folder / "tokenizer" / "vocab.json").unlink()
    (folder / "tokenizer" / "merges.txt").unlink()
    with pytest.raises(ArtefactError, match=r"has 2 tokens where the text encoder has 518; it needs vocab.json and merges.txt"):
        pretrained_text_encoder(str(folder))
    shutil.rmtree(folder / "tokenizer")
    with pytest.raises(ArtefactError, match="tokenizer: no such folder"):
        pretrained_text_encoder(str(folder))


def test_a_text_encoder_that_lacks_a_weight_is_refused(folder):
    def drop(state):
        state.pop(next(key for key in state if key.endswith("layers.0.mlp.fc1.weight")))

    change_weights(folder / "text_encoder" / "model.safetensors", drop)
    with pytest.raises(ArtefactError, match=r"missing .*layers.0.mlp.fc1.weight \[64, 32\]"):
        pretrained_text_encoder(str(folder))
