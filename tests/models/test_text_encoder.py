"""Text: prompts are read as Stable Diffusion reads them, and a placeholder's region is heard by the words around it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gen.artefact import ArtefactError
from gen.models.component import Component
from gen.models.pretrained_text_encoder import PretrainedTextEncoder
from gen.models.text_encoder import CaptionEncoder, split_prompt
from tests.models.toy_conditioning import GRID, VOCABULARY, WIDTH, toy_conditioner, toy_latents
from tests.models.toy_stable_diffusion import write_toy_stable_diffusion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_toy_stable_diffusion(tmp_path_factory.mktemp("toy") / "weights", cross_attention_dim=WIDTH)


@pytest.fixture(scope="module")
def pretrained(folder) -> PretrainedTextEncoder:
    """Return a text encoder whose projection of regions has learned something."""
    encoder = PretrainedTextEncoder(str(folder), region_width=WIDTH)
    torch.manual_seed(0)
    torch.nn.init.normal_(encoder.from_region.weight)
    return encoder.eval()


def encoders(pretrained) -> dict[str, Component]:
    torch.manual_seed(0)
    return {"captions": CaptionEncoder(VOCABULARY, WIDTH).eval(), "pretrained": pretrained}


@pytest.mark.parametrize(
    ("prompt", "pieces"),
    [
        ("a red circle", ["a red circle"]),
        ("[region] and [Region]", [1, " and ", 2]),
        ("[2] on a table", [2, " on a table"]),
        ("a photo of [region][region] by [1]", ["a photo of ", 1, 2, " by ", 1]),
        ("[other] [2", ["[other] [2"]),
        ("", []),
    ],
)
def test_the_kth_region_is_the_kth_object_and_a_number_is_its_own(prompt, pieces):
    assert split_prompt(prompt) == pieces


@pytest.mark.parametrize("kind", ["captions", "pretrained"])
def test_words_near_a_placeholder_hear_its_region_and_no_other(pretrained, kind):
    encoder, regions = encoders(pretrained)[kind], toy_latents().tokens.mean(2)
    exists = torch.ones(2, 4, dtype=torch.bool)
    prompts = ["red [2] circle", "red circle"]
    with torch.no_grad():
        first, present = encoder(prompts, regions, exists)
        second, _ = encoder(prompts, regions + torch.tensor([0, 0, 1, 0])[None, :, None], exists)
        third, _ = encoder(prompts, regions + torch.tensor([1, 1, 0, 1])[None, :, None], exists)
    assert torch.equal(first, third), "regions that are not named"
    heard = (first != second).any(-1)
    assert not heard[1].any(), "a prompt without a placeholder"
    words = present[0].nonzero().flatten()
    assert heard[0, words[-1]], "the word after it"


@pytest.mark.parametrize("kind", ["captions", "pretrained"])
def test_a_region_that_does_not_exist_is_named(pretrained, kind):
    encoder, regions = encoders(pretrained)[kind], torch.zeros(1, 3, WIDTH)
    exists = torch.tensor([[True, True, False]])
    for prompt, region in (("[2]", 2), ("[region] and [region]", 2), ("[7] there", 7)):
        with pytest.raises(ValueError, match=rf"names region {region}, which does not exist; there are \[0, 1\]"):
            encoder([prompt], regions, exists)


def test_in_training_a_caption_may_name_a_dropped_region_and_reads_the_null():
    conditioner, latents = toy_conditioner(), toy_latents()
    other = replace(latents, tokens=latents.tokens + torch.tensor([0.0, 0.0, 0.0, 1.0])[None, :, None, None])
    with pytest.raises(ValueError, match="names region 3"):
        conditioner(latents, GRID, ["[3]", ""])
    conditioner.train()
    first, second = (conditioner(each, GRID, ["red [3]", ""]) for each in (latents, other))
    words = first.token_region < 0
    assert torch.equal(first.encoder_hidden_states[:, words], second.encoder_hidden_states[:, words])


def test_a_dropped_samples_placeholders_say_nothing_of_its_regions():
    conditioner, latents, dropped = toy_conditioner(), toy_latents(), torch.tensor([True, False])
    other = replace(latents, tokens=latents.tokens + 1)
    first, second = (conditioner(each, GRID, ["red [1]", "red [1]"], dropped).encoder_hidden_states for each in (latents, other))
    assert torch.equal(first[0], second[0]) and not torch.equal(first[1], second[1])


def test_a_prompt_is_read_as_stable_diffusion_reads_it(folder, pretrained):
    """The tokenizer's own padding, and the text encoder's last hidden state."""
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    model = CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    prompts = ["A photo of a red  box, on 2 tables!", "", "red of an " * 60]
    ids = tokenizer(prompts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(pretrained.tokenise(prompts)[0], ids)
    with torch.no_grad():
        tokens, present = pretrained(prompts)
        torch.testing.assert_close(tokens, model(ids).last_hidden_state)
    assert present.all()


def test_at_first_a_region_is_an_average_word(folder):
    encoder = PretrainedTextEncoder(str(folder), region_width=WIDTH)
    words = encoder.model.embeddings.token_embedding.weight
    torch.testing.assert_close(encoder.from_region(torch.randn(1, 2, WIDTH))[0, 1], words.mean(0))


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_text_encoder_stays_as_it_is(folder, frozen):
    encoder = PretrainedTextEncoder(str(folder), frozen=frozen, region_width=WIDTH).train()
    assert {parameter.requires_grad for parameter in encoder.model.parameters()} == {not frozen}
    assert encoder.model.training is not frozen and encoder.from_region.weight.requires_grad


def test_saved_and_loaded_it_needs_no_weights_from_elsewhere(folder, pretrained, tmp_path):
    pretrained.save_pretrained(tmp_path / "text")
    loaded = PretrainedTextEncoder.from_pretrained(tmp_path / "text")
    regions = toy_latents().tokens.mean(2)
    with torch.no_grad():
        first, second = (encoder(["red [1]", "of"], regions)[0] for encoder in (pretrained, loaded))
    assert torch.equal(first, second) and str(folder) not in (tmp_path / "text" / "config.json").read_text()


def test_a_folder_without_its_tokenizer_is_refused(pretrained, tmp_path):
    pretrained.save_pretrained(tmp_path / "text")
    (tmp_path / "text" / "tokenizer" / "tokenizer.json").unlink()
    with pytest.raises(ArtefactError, match="holds no tokenizer"):
        PretrainedTextEncoder.from_pretrained(tmp_path / "text")


def test_mistakes_are_named(folder):
    with pytest.raises(ValueError, match="give one of the two"):
        PretrainedTextEncoder(None)
    with pytest.raises(ValueError, match="region_width set to the tokens' width"):
        PretrainedTextEncoder(str(folder))(["[1]"], torch.zeros(1, 3, WIDTH))
