"""The processes of this machine: a table of them, Airflow's configuration, and supervisord."""
