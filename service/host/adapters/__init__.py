"""Adapters on their way into memory and out of it."""
