"""A/B tests: the periods with a fixed split, the required sample size, and the comparison of variants.

How traffic shares are set belongs to `core.release`.
"""
