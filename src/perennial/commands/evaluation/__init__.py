"""Views of `perennial evaluate` beside its figures."""
