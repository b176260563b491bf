"""Bodies, headers and media types, read and written."""
