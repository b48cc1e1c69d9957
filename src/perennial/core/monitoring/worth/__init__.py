"""Worth of a retraining: before it, after it, and for the next one."""
