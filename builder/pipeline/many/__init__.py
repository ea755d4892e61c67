"""Many projects of one repository: which there are, in what order, which a change touches, and all at once."""
