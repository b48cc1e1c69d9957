"""How many false alarms and warnings a plant accepts, and how sure one must be of them."""
