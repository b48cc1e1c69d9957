"""Clients of the serving protocol that nobody here wrote, and the server that they ask."""
