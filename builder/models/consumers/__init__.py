"""A converted model as a package for teams that don't use Python: from its contract and its bytes."""
