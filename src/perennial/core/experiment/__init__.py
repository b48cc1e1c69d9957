"""A/B tests: which variant a request belongs to, how many observations are needed, and which variant is better.

How shares are given and taken belongs to `core.release`.
"""
