"""SQL databases of tests, and what earlier code stored in them."""
