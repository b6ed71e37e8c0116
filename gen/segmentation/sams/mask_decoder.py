"""The mask decoder of the SAM family for many prompts on one picture: what prompts share is computed once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

# Modules are `Any`: what a part is called differs between the libraries.
# Letters: p prompts, t tokens of a prompt, l = g * g cells of the image embedding, c its width, h heads, e = width of a head, m masks.


@dataclass(frozen=True)
class SharedImage:
    """What all prompts on one picture share.

    Attributes:
        image: the image embedding with the embedding of "no mask was given".
        position: its positional code.
        grid: cells along a side, g.
        skips: features that are added while the masks are upscaled (SAM 2), cell by cell: [l 4 c/4] and [l 16 c/8].
        fine: features of the pixels of the masks that SAM-HQ adds to its own, [c/8 4g 4g].
    """

    image: Float[Tensor, "l c"]
    position: Float[Tensor, "l c"]
    grid: int
    skips: tuple[Tensor, Tensor] | None = None
    fine: Tensor | None = None


def run_decoder(decoder: Any, shared: SharedImage, prompts: Float[Tensor, "p k c"]) -> tuple[Tensor, Tensor]:
    """Return the logits of all masks and their predicted IoU: exactly what the decoder's own forward computes, in another order.

    Attention between a few tokens and all cells of the image is linear in the cells, so the projections of queries, keys and values are
    moved to the tokens' side: (x Wq) (y Wk)^T = x (y Wk Wq^T)^T, and softmax(s) (y Wv) = (softmax(s) y) Wv. In the first layer, where all
    prompts look at the same cells, keys and values are projected once. Transposed convolutions of stride 2 are products with a matrix.

    Args:
        decoder: of the `segment_anything` package or of transformers' SAM, SAM 2 or SAM-HQ, frozen, in the type of `shared`.
        shared: of the picture.
        prompts: sparse embeddings.

    Returns:
        Logits [p m 4g 4g] and IoU [p m]; m = 4, the first for prompts that leave no doubt (SAM-HQ: its own mask is added to each).
    """
    is_sam2, is_hq = hasattr(decoder, "obj_score_token"), hasattr(decoder, "hq_token")
    own = [decoder.obj_score_token.weight] if is_sam2 else []
    own += [decoder.iou_token.weight, decoder.mask_tokens.weight] + ([decoder.hq_token.weight] if is_hq else [])
    outputs = torch.cat(own)
    tokens = torch.cat([outputs.expand(len(prompts), -1, -1), prompts.to(outputs.dtype)], 1)
    queries, cells = _two_way(decoder.transformer, shared, tokens)
    queries = queries[:, 1:] if is_sam2 else queries
    num_masks = decoder.num_multimask_outputs + 1
    weights = torch.stack([net(queries[:, 1 + i]) for i, net in enumerate(decoder.output_hypernetworks_mlps)], 1)
    pixels = _upscale(decoder, cells, shared.skips)
    logits = _as_picture(pixels @ weights.transpose(1, 2), shared.grid)
    if is_hq:
        fine = decoder.activation(decoder.mask_norm(decoder.mask_conv1(_as_picture(pixels, shared.grid))))
        fine = decoder.mask_conv2(fine) + shared.fine
        logits = logits + torch.einsum("pc,pcyx->pyx", decoder.hq_mask_mlp(queries[:, 1 + num_masks]), fine)[:, None]
    return logits, decoder.iou_prediction_head(queries[:, 0])


def cell_by_cell(features: Float[Tensor, "1 d y x"], grid: int) -> Float[Tensor, "l k d"]:
    """Reorder features of finer pixels as `run_decoder` upscales: cell by cell, and within a cell quarter by quarter."""
    width, levels = features.shape[1], (features.shape[-1] // grid).bit_length() - 1
    halves = [2] * levels
    split = features[0].reshape(width, grid, *halves, grid, *halves)
    rows, columns = range(2, 2 + levels), range(3 + levels, 3 + 2 * levels)
    quarters = [axis for pair in zip(rows, columns, strict=True) for axis in pair]
    return split.permute(1, 2 + levels, *quarters, 0).reshape(grid * grid, -1, width)


def _as_picture(pixels: Float[Tensor, "p n d"], grid: int) -> Float[Tensor, "p d y x"]:
    """Undo `cell_by_cell` of two levels."""
    p, _, width = pixels.shape
    split = pixels.reshape(p, grid, grid, 2, 2, 2, 2, width)
    return split.permute(0, 7, 1, 3, 5, 2, 4, 6).reshape(p, width, 4 * grid, 4 * grid)


def _upscale(decoder: Any, cells: Float[Tensor, "p l c"], skips: tuple[Tensor, Tensor] | None) -> Float[Tensor, "p n d"]:
    """Return the pixels of the masks, 16 a cell."""
    if hasattr(decoder, "output_upscaling"):  # the package's names
        first, norm, _, second, _ = decoder.output_upscaling
    else:
        first, norm, second = decoder.upscale_conv1, decoder.upscale_layer_norm, decoder.upscale_conv2
    p = len(cells)
    x = _quarters(cells, first)
    x = x if skips is None else x + skips[0]
    x = nn.functional.gelu(nn.functional.layer_norm(x, x.shape[-1:], norm.weight, norm.bias, norm.eps))
    x = _quarters(x.reshape(p, -1, x.shape[-1]), second)
    x = x if skips is None else x + skips[1].reshape(-1, 4, x.shape[-1])
    return nn.functional.gelu(x).reshape(p, -1, x.shape[-1])


def _quarters(x: Float[Tensor, "p n d"], convolution: Any) -> Float[Tensor, "p n 4 f"]:
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)
    return nn.functional.linear(x, weight, convolution.bias.repeat(4)).unflatten(-1, (4, -1))


def _two_way(transformer: Any, shared: SharedImage, tokens: Float[Tensor, "p t c"]) -> tuple[Tensor, Tensor]:
    """Return the tokens and the cells [p l c] after all layers."""
    queries, cells = tokens, shared.image
    for number, layer in enumerate(transformer.layers):
        if number == 0:
            queries = _attend(layer.self_attn, queries, queries, queries)
        else:
            queries = queries + _attend(layer.self_attn, queries + tokens, queries + tokens, queries)
        queries = _norm(layer, 1)(queries)
        queries = queries + _tokens_read_image(layer.cross_attn_token_to_image, queries + tokens, cells, shared.position)
        queries = _norm(layer, 2)(queries)
        queries = _norm(layer, 3)(queries + layer.mlp(queries))
        cells = _image_reads_tokens(layer.cross_attn_image_to_token, cells, shared.position, queries + tokens, queries)
        cells = _norm(layer, 4)(cells)
    queries = queries + _tokens_read_image(transformer.final_attn_token_to_image, queries + tokens, cells, shared.position)
    norm = getattr(transformer, "norm_final_attn", None) or transformer.layer_norm_final_attn
    return norm(queries), cells


def _norm(layer: Any, number: int) -> Any:
    return getattr(layer, f"norm{number}", None) or getattr(layer, f"layer_norm{number}")


def _heads(attention: Any) -> int:
    return int(getattr(attention, "num_heads", 0) or attention.num_attention_heads)


def _out(attention: Any) -> Any:
    return getattr(attention, "out_proj", None) or attention.o_proj


def _split(x: Float[Tensor, "p n d"], heads: int) -> Float[Tensor, "p h n e"]:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _attend(attention: Any, q: Tensor, k: Tensor, v: Tensor) -> Float[Tensor, "p t c"]:
    heads = _heads(attention)
    q, k, v = _split(attention.q_proj(q), heads), _split(attention.k_proj(k), heads), _split(attention.v_proj(v), heads)
    return _out(attention)(nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _tokens_read_image(attention: Any, queries: Float[Tensor, "p t c"], cells: Tensor, position: Float[Tensor, "l c"]) -> Tensor:
    """Return what the tokens read from the cells, [l c] or [p l c]; `position` is added to the cells as keys."""
    heads, (p, t, _) = _heads(attention), queries.shape
    q = _split(attention.q_proj(queries), heads)  # p h t e
    if cells.dim() == 2:
        k, v = _split(attention.k_proj(cells + position)[None], heads), _split(attention.v_proj(cells)[None], heads)
        together = q.transpose(0, 1).flatten(1, 2)[None]
        read = nn.functional.scaled_dot_product_attention(together, k, v)[0].unflatten(1, (p, t)).permute(1, 2, 0, 3)
    else:
        scores = _scores(q, attention.k_proj, cells, position)
        read = torch.bmm(scores.softmax(-1), cells).unflatten(1, (heads, t))
        value = attention.v_proj
        read = torch.einsum("phtc,hec->pthe", read, value.weight.unflatten(0, (heads, -1))) + value.bias.unflatten(0, (heads, -1))
    return _out(attention)(read.flatten(2))


def _image_reads_tokens(attention: Any, cells: Tensor, position: Float[Tensor, "l c"], keys: Tensor, values: Tensor) -> Tensor:
    """Return the cells, [p l c], with what they read from the tokens added; `position` is added to the cells as queries."""
    heads, (p, t, _) = _heads(attention), keys.shape
    k = _split(attention.k_proj(keys), heads)
    if cells.dim() == 2:
        q = _split(attention.q_proj(cells + position)[None], heads)[0]  # h l e
        scores = torch.bmm(k.transpose(0, 1).flatten(1, 2) * q.shape[-1] ** -0.5, q.transpose(1, 2))
        scores = scores.unflatten(1, (p, t)).transpose(0, 1)
    else:
        scores = _scores(k, attention.q_proj, cells, position).unflatten(1, (heads, t))
    read = scores.softmax(2).reshape(p, heads * t, -1)
    out = _out(attention)
    told = torch.einsum("phte,che->phtc", _split(attention.v_proj(values), heads), out.weight.unflatten(1, (heads, -1)))
    told = told + out.bias / heads  # a head's weights sum to 1 over the tokens
    return torch.baddbmm(cells.expand(p, -1, -1), read.transpose(1, 2), told.flatten(1, 2))


def _scores(x: Float[Tensor, "p h t e"], project: nn.Linear, cells: Float[Tensor, "p l c"], position: Float[Tensor, "l c"]) -> Tensor:
    """Return x (project(cells + position))^T / sqrt(e) as [p h*t l], without projecting the cells."""
    p, heads, t, e = x.shape
    x = x * e**-0.5
    place = project(position).unflatten(-1, (heads, e)).permute(1, 2, 0)  # h e l
    at_place = torch.bmm(x.transpose(0, 1).flatten(1, 2), place).unflatten(1, (p, t)).transpose(0, 1).flatten(1, 2)
    towards = torch.einsum("phte,hec->phtc", x, project.weight.unflatten(0, (heads, e))).flatten(1, 2)
    return torch.baddbmm(at_place, towards, cells.transpose(1, 2))
