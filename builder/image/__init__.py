"""Layers to images: manifests, configurations and indexes as pure functions of values."""
