"""Answers callers: HTTP, the registry, references, and which base models are hosted. Runs no forward."""
