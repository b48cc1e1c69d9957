"""Parts of the benchmark of the watch."""
