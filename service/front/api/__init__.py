"""HTTP in and out: an endpoint parses, calls one thing, returns."""
