"""The command line: parse, call, render, exit. Each command's module is imported when it runs."""

from builder.cli.app import main

__all__ = ["main"]
