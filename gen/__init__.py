"""Region-latent image editing: pictures as sets of regions that can be moved, changed and painted again."""
