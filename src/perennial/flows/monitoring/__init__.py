"""Monitor live models: store labels, measure drift and accuracy, request a retraining."""
