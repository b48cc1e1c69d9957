"""TLS inside the plant: certificates of every kind, good and bad, and clients that show them."""
