"""Folder of Airflow plugins: `core.plugins_folder` of each part of Airflow."""
