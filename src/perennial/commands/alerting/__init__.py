"""Commands about alerts: the generated files of Prometheus, Alertmanager and Grafana, and the receiver of messages."""
