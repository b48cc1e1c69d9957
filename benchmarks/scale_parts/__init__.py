"""Parts of `benchmarks/scale.py`, one a module: each makes its content in a folder and yields rows of the table."""
