"""Pools and router of serving machines that share no disk with the control plane: both sides of the database."""
