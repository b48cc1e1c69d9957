"""Who may do what, and what is on record: ledger, accounts, tokens, licences, and the documents made of the record.

Nothing here decides about traffic.
"""
