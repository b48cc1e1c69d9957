"""Inputs and results of a training: rows, split, capsule, manifest, registration.

No fitting (that is `models`) and no order of steps (that is `flows.training`).
"""
