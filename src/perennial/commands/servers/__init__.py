"""Commands that become a server."""
