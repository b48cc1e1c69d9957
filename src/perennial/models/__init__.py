"""The models that ship with Perennial, and the protocol that each fulfils. They know nothing of serving or release."""
