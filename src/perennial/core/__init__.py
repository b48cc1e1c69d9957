"""Decisions and values, pure: no IO, no clock, no randomness that is not passed in.

One room per subject; beside the rooms only what every subject uses: the spec, verdicts, versions, statistics, events
and the names of assets. Nothing here imports another layer.
"""
