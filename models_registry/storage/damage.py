"""Which blobs are known to be damaged. A mark is for those who look: whether bytes are served, their digest says."""

from datetime import UTC, datetime

from sqlalchemy import delete, exists
from sqlalchemy.orm import Session

from models_registry.storage.events import SHA256, log
from models_registry.storage.tables import DamagedBlobRow, VersionRow


def is_damaged(session: Session, digest: str) -> bool:
    return session.get(DamagedBlobRow, digest) is not None


def mark_damaged(session: Session, digest: str) -> None:
    if not is_damaged(session, digest):
        session.add(DamagedBlobRow(digest=digest, found_at=datetime.now(UTC)))
        log(session, "blob.damaged", f"{SHA256}{digest}")


def mark_sound(session: Session, digest: str) -> None:
    if is_damaged(session, digest):
        session.execute(delete(DamagedBlobRow).where(DamagedBlobRow.digest == digest))
        log(session, "blob.sound", f"{SHA256}{digest}")


def forget_unreferenced(session: Session) -> None:
    """What no version names any more is nobody's damage."""
    named = exists().where(VersionRow.digest == DamagedBlobRow.digest)
    session.execute(delete(DamagedBlobRow).where(~named))
