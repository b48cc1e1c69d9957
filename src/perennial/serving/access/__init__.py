"""Who may ask a model server: the installation itself, and clients with a key."""
