"""Commands of the prediction log."""
