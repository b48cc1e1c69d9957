"""What Airflow runs of ours besides DAG files: operators and triggers, which must be importable by name."""
