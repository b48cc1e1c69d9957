"""Test reports of CI tools, read into executions: a module per format, over one streaming reader."""
