"""The servers that `benchmarks/serving.py` compares, with the same model, and the client that loads them."""
