"""Parts of `release_verdicts.py`: each draws releases under one kind of traffic and yields `outcome.Outcome` rows."""
