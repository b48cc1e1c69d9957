"""Versions that lie beside the code that serves them, in a bento."""
