"""Construction of adapters from the settings: the only place that knows the adapter behind each port.

There is a module per part of the system. Each function imports its adapters itself, so that a command imports only
what it uses. No policy and no use case belongs here.
"""
