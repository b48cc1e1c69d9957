"""Tests that run again, and why."""
