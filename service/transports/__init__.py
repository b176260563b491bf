"""How messages between a front and its hosts travel: in the same process, or to a process of their own."""
