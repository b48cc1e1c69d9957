"""Optuna: the search for parameters, in this process or in several."""
