"""Encryption of files that leave this machine: backups, and the prediction log in object storage (ADR 60)."""
