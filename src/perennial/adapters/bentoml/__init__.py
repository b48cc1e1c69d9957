"""The pools of BentoML model servers, as seen from outside. What runs inside a server is in `serving`."""
