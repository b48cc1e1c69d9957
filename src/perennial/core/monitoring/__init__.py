"""Judge a model by its live traffic: drift, skew, accuracy, alarm levels, and the rules for a retraining."""
