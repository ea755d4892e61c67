"""Images to where they run."""
