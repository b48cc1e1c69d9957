"""What tests of alerts share: programs of Prometheus and Alertmanager, and cases of every alert."""
