"""Models that ship with Perennial, and their base class. They do not import serving or release."""
