"""The verbs: what callers may do with base models and adapters."""
