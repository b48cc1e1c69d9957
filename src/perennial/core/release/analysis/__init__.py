"""Statistics of a release's traffic: the tests behind the criteria, their judgements, and their rehearsal.

No rule of a phase lives here.
"""
