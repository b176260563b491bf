"""How front and host are joined: what carries the protocol between them."""
