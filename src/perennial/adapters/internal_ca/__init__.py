"""The authority of the plant, which signs the certificates of its processes, over `cryptography`."""
