"""Other forms of a model file: half precision, integers, and the comparison of their latency."""
