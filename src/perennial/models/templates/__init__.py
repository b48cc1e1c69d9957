"""Models for any table: a model of a project is a subclass of one of them."""
