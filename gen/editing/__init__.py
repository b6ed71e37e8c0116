"""Edits on latents: as functions, as JSON plans, and applied to a picture."""
