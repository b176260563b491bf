"""Problems as pages: what went wrong and what to do, for people in a browser."""

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.types import Scope

from service.console.gate import is_page
from service.console.pages import render
from service.console.sessions import HERE
from service.front.api.middleware.other_words import Wording, is_below


class Pages:
    """Of every problem that a browser would show below `/console`. Scripts get the problem itself."""

    def are_for(self, scope: Scope) -> bool:
        return is_below(HERE, scope) and is_page(Request(scope))

    def translate(self, problem: Mapping[str, Any], scope: Scope) -> Wording:
        content = render("problem.html", scope, problem=problem).encode()
        return Wording(int(problem["status"]), "text/html; charset=utf-8", content)
