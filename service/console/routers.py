"""All addresses of the console."""

from typing import Final

from service.console.routes import adapters, aliases, login, models

ROUTERS: Final = tuple(pages.router for pages in (login, models, adapters, aliases))
