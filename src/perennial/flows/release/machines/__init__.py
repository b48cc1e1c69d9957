"""The two sides of serving machines: the agent of each, and the watch of the control plane over all."""
