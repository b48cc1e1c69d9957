"""What `perennial evaluate` shows beside its figures."""
