"""All addresses of the console."""

from typing import Final

from service.console.routes import (
    access,
    activity,
    adapters,
    aliases,
    comparing,
    login,
    models,
    playground,
    spent,
    uploading,
)

_PAGES: Final = (login, models, adapters, aliases, playground, comparing, activity, uploading, spent, access)
ROUTERS: Final = tuple(pages.router for pages in _PAGES)
