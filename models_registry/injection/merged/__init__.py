"""Copies of layers that have a hot adapter in their weights."""
