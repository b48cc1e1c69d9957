"""One model on loopback without the rest of the plant."""
