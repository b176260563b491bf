"""All addresses of the console."""

from typing import Final

from service.console.routes import adapters, aliases, comparing, login, models, playground

ROUTERS: Final = tuple(pages.router for pages in (login, models, adapters, aliases, playground, comparing))
