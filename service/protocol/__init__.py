"""What a front and a host say to each other: frozen messages, no behaviour."""
