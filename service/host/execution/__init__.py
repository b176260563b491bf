"""A batch's forward and what it answers."""
