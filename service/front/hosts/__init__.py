"""Which base models are in memory, and in which host."""
