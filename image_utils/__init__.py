"""Pictures and nothing about diffusion: read, write, convert, draw, lay out."""
