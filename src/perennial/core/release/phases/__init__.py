"""One module per phase of a release, named like the phase; each has `run(transition)`, the rule of that phase.

`perennial.core.release.decide` chooses the module. What several phases use lies beside this folder.
"""
