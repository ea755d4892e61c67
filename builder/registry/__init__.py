"""Stores: where blobs, manifests and tags live."""
