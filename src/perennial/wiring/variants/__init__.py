"""Build what makes versions from the weights of another one: faster ones, and recalibrated ones."""
