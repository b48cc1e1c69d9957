"""Operators and triggers of our DAGs, which Airflow must be able to import by name. No DAG files."""
