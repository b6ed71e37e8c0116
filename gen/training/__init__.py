"""The training room: improves any Trainable on any data source, and can be killed at any moment."""
