"""A project's dependencies, locked down to hashes."""
