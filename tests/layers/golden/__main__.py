"""``python -m tests.layers.golden``: freeze what the encoders write now."""

from tests.layers.golden import write

write()
