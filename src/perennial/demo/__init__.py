"""The closed loop on one machine, told while it happens. Same code as production, shorter waits."""
