"""Following of the prediction log as it grows."""
