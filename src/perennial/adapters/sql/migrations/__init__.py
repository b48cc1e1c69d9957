"""Alembic revisions of the SQL schema, a file each. A revision names its tables itself: `schema` changes later.

No revision drops rows, forward or back: what older or newer code reads alone stays where it is. Each creates what is
missing only, since the databases made before revisions were recorded hold parts of the first two.
"""
