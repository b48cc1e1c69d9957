"""Training steps, from a history of data to a registered candidate. Evaluation is in `flows.evaluation`."""
