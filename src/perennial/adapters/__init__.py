"""The ports over the tools of the stack: each module wraps one library and holds no policy.

A folder where a tool needs several files, else one file. In-memory doubles live with the tests.
"""
