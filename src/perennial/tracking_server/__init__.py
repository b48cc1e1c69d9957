"""What MLflow's server runs of ours: its authentication, and who may mark a model version how."""
