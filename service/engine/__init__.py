"""What is in memory now: hosted base models, their workers, and the adapters that are resident with them."""
