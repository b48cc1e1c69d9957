"""The closed loop on this machine with live messages. Same code as production, shorter waits."""
