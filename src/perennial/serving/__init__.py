"""The code that runs inside a model server: it stays small, and imports no training library."""
