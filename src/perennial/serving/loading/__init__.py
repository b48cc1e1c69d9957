"""Versions that a model server loads when a request names them, and the file that says which versions there are."""
