"""What a training is made of and leaves behind: rows, split, capsule, manifest, registration.

No fitting (that is `models`) and no order of steps (that is `flows.training`).
"""
