"""How good a model is: metrics with intervals, comparisons, and the checks of a candidate's answers.

Whether a figure is good enough for a release is decided in `core.release.gate`, not here.
"""
