"""Retention of files of the state folder: what nothing needs any more goes after an age of its own."""
