"""The tests. They mirror `builder`: `tests/lock/test_debian.py` is about `builder/lock/debian.py`."""
