"""Commands about an installation as a whole."""
