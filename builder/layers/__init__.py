"""Artifacts to image layers, by pure functions of their bytes."""
