"""Alerting: rules and scrapes of Prometheus, Alertmanager's configuration, Grafana's dashboards, all from the specs."""
