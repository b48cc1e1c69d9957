"""Support that only benchmarks use."""
