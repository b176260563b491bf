"""adapters: the command line of those who train and use adapters."""

from service.client.commands.main import main

__all__ = ["main"]
