"""What an alias was: its moves as the log has them, without those that were rolled back."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from models_registry.storage.tables import EventRow


def moves_to_undo(session: Session, name: str, alias: str) -> Sequence[EventRow]:
    """The newest first. A move says where the alias pointed before, and a rollback which move it `undoes`; those in
    between are undone with it. The first move of an alias was from nowhere (null)."""
    moves = select(EventRow).where(EventRow.subject == f"{name}@{alias}", EventRow.kind == "alias.moved")
    left: list[EventRow] = []
    for move in session.scalars(moves.order_by(EventRow.id)):
        undone = move.detail.get("undoes")
        if undone is None:
            left.append(move)
        else:
            left = [earlier for earlier in left if earlier.id < undone]
    return left[::-1]
