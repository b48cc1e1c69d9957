"""Settings -> adapters: the only place that knows which adapter stands behind a port.

One module per part of the system; each imports an adapter inside the function that makes it, so that a command
pays only for the parts that it uses. No policy and no order of steps stands here.
"""
