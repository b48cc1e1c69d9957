"""Who may ask a model server: the installation itself, and holders of a key. The file of keys serves evidence too."""
