"""MLflow: runs, versions, aliases, tags and the files behind them. The guarded server is in `tracking_server`."""
