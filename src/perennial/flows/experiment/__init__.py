"""Gather the users and outcomes of an A/B test from the prediction log and the feedback."""
