"""Reports of unexpected errors to a service outside of the plant, where a setting names one."""
