"""Drafts of a new model: what a table's columns are, and the spec, expectations and pipeline that follow from them.

Reading tables and writing files belong to adapters and flows.
"""
