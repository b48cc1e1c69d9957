"""Tenants: plants of their own on shared servers. What one needs on them, and what it costs."""
