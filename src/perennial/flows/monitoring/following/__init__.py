"""Following of the prediction log from look to look."""
