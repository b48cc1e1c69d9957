"""Score the rows of a whole file or query."""
