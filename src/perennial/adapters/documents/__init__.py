"""Reports, pictures and bills of materials as files that a person opens."""
