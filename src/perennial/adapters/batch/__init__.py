"""Rows of a batch, its parts and result on the disk, and the processes that score."""
