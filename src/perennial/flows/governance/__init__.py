"""Accounts and tokens, the ledger and its checks, notices, and the documents of a version."""
