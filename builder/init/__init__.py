"""What a folder holds, and the project file that fits it: `lockship init`.

`inspect` only reads: no code of the folder is imported or run. `render` is pure. What can't be known is chosen
plainly and said in a comment, so that the file works and the reader knows what to look at.
"""

from builder.init.folder import Findings, inspect, render, write

__all__ = ["Findings", "inspect", "render", "write"]
