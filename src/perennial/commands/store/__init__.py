"""Commands about the SQL database itself."""
