"""Which media types a caller takes, by the header Accept."""

from email.message import Message

from fastapi import Request


def accepts(request: Request, media_type: str) -> bool:
    """Whether the caller names this very type, and doesn't refuse it (`;q=0`)."""
    return any(_takes(entry, media_type) for entry in ", ".join(request.headers.getlist("accept")).split(","))


def _takes(entry: str, media_type: str) -> bool:
    parsed = Message()
    parsed["content-type"] = entry
    if parsed.get_content_type() != media_type:
        return False
    try:
        return float(str(parsed.get_param("q", "1"))) > 0
    except ValueError:
        return True
