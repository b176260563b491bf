"""Every route has its role, or there is no app."""

from collections.abc import Iterable

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from service.front.access.route_roles import entries, is_open


def require_complete(routes: Iterable[BaseRoute]) -> None:
    """Raises `LookupError` where a route has no line in the table of roles: nobody has thought of who may call it."""
    known = {(method, path) for method, path, _ in entries()}
    ours = [route for route in routes if isinstance(route, APIRoute) and not is_open(route.path)]
    if missing := sorted({(method, route.path) for route in ours for method in route.methods or ()} - known):
        raise LookupError(f"service/front/access/route_roles.py has no role for {missing}.")
