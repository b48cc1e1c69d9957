"""TLS with certificates on both sides between the processes of the plant. Standard library only, so that the rollback
and every server load it quickly.
"""
