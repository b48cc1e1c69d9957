"""The order of the steps of each use case, over `ports`. No policy and no library of an adapter.

One room per subject, with the same names as in `core`.
"""
