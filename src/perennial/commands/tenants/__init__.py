"""Commands about tenants: plants of their own on shared servers."""
