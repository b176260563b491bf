"""Processes for hosts: starting, limiting and ending them. Nothing here knows what is said over their sockets."""
