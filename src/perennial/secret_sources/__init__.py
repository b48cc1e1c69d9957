"""Sources of secret settings: mounted files, and a vault (ADR 60). Below the settings, which are read through them."""
