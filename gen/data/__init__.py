"""The way from pictures on disk, or rendered ones, to source / target batches."""
