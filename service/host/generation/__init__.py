"""Texts that are being written: which run, where their keys and values are, one step for all of them."""
