"""Refinement measured: the refined method is the plain one with better latents, and the table shows both."""

from __future__ import annotations

import json

from gen.editing.refine import Refinement
from gen.evaluation.cases import build_cases
from gen.evaluation.methods import PipelineMethod
from gen.evaluation.refinement import RefinedMethod, measure_refinement
from gen.models.tiny import tiny_pipeline


def test_refined_latents_paint_another_picture_and_the_same_settings_the_same():
    pipeline = tiny_pipeline(32, 6)
    cases = build_cases("reconstruct", 2, 32, num_regions=6)
    method = RefinedMethod("refined", pipeline, Refinement(num_steps=2), 2)
    first, second, plain = method(cases, 0), method(cases, 0), PipelineMethod("plain", pipeline, 2)(cases, 0)
    assert first is not None and second is not None and plain is not None
    assert (first.raw == second.raw).all() and not (first.raw == plain.raw).all()


def test_edits_that_need_another_picture_are_not_refined():
    method = RefinedMethod("refined", tiny_pipeline(32, 6), Refinement(num_steps=1), 1)
    assert method(build_cases("insert", 1, 32, num_regions=6), 0) is None


def test_the_table_shows_both(tmp_path):
    table = measure_refinement(tiny_pipeline(32, 6), 1, Refinement(num_steps=1), tmp_path)
    stored = json.loads((tmp_path / "refinement.json").read_text())
    assert set(stored["before"]) == set(stored["after"]) == {"reconstruct", "move", "remove"}
    assert f"{stored['after']['move']['psnr']:.2f} dB" in table and (tmp_path / "refinement.png").is_file()
