"""Feast: definitions, the offline join and the online store."""
