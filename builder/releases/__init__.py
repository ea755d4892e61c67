"""Releases: what made them, where they run, how to get back, and who said so."""
