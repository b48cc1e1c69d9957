"""What a retraining is worth: before it, after it, and for the next one."""
