"""Judging results against the rendered truth."""
