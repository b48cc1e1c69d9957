"""In-memory fakes of the ports, one module per area. They keep the contracts of the real adapters."""
