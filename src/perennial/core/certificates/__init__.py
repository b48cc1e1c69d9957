"""Certificates inside the plant: who has one, who may call whom, and when one is renewed. Pure."""
