"""Look at live models: labels, drift, accuracy, and the request for a retraining."""
