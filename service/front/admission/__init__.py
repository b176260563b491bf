"""What a request may do before it reaches a host: versions it holds, how many may wait."""
