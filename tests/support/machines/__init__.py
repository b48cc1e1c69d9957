"""Serving machines with their agents."""
