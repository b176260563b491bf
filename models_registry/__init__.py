"""The library that knows what base models and adapters are. No HTTP, no threads, no async."""
