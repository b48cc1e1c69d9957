"""The performance report of a model: figures by period and slice, their trend, what is odd, what to do."""
