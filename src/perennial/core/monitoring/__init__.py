"""What live traffic says of a model: drift, skew, the level of alarm, and when to ask for a retraining."""
