"""What Dockerfile, compose file and manifests say of each container, and a run of it without an engine."""
