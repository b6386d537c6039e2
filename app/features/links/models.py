"""The tables of links, their clicks and their imports."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.infra.db import Base

Timestamp = TIMESTAMP(timezone=True)


class Link(Base):
    __tablename__ = "links"
    __table_args__ = (
        CheckConstraint("slug ~ '^[A-Za-z0-9][A-Za-z0-9_-]{1,63}$'", name="slug_format"),
        CheckConstraint("url ~* '^https?://[!-~]+$' AND length(url) <= 2048", name="url_format"),
        CheckConstraint("char_length(title) <= 200", name="title_length"),
        Index(None, "expires_at", postgresql_where=text("expires_at IS NOT NULL")),
        Index(None, "created_by"),
        # These and their columns are not used any more. They stay for the version before, which
        # runs during a deploy and after a rollback.
        CheckConstraint("char_length(idempotency_key) <= 255", name="idempotency_key_length"),
        CheckConstraint(
            "(idempotency_key IS NULL) = (request_digest IS NULL)", name="key_has_digest"
        ),
        Index(
            None,
            "created_by",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))
    slug: Mapped[str] = mapped_column(Text, unique=True)
    url: Mapped[str] = mapped_column(Text)
    title: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("tokens.id", ondelete="SET NULL"))
    idempotency_key: Mapped[str | None] = mapped_column(Text, deferred=True)
    request_digest: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class ClickCount(Base):
    """Clicks of a link in the hour that begins at `hour`."""

    __tablename__ = "click_counts"
    __table_args__ = (
        CheckConstraint("clicks > 0", name="clicks_positive"),
        CheckConstraint("hour = date_trunc('hour', hour, 'UTC')", name="hour_is_whole"),
        Index(None, "hour"),
    )

    link_id: Mapped[UUID] = mapped_column(
        ForeignKey("links.id", ondelete="CASCADE"), primary_key=True
    )
    hour: Mapped[datetime] = mapped_column(Timestamp, primary_key=True)
    clicks: Mapped[int] = mapped_column(BigInteger)


class ClickTotal(Base):
    """All clicks of a link, those of purged hours too; absent before the first one.

    Nothing writes it but the trigger of click_counts (migration 0008), in the same transaction.
    """

    __tablename__ = "click_totals"

    link_id: Mapped[UUID] = mapped_column(
        ForeignKey("links.id", ondelete="CASCADE"), primary_key=True
    )
    clicks: Mapped[int] = mapped_column(BigInteger)


class ConsumerOffset(Base):
    """The id of the last stream entry that is counted. One row; the worker that counts locks it."""

    __tablename__ = "click_positions"

    stream: Mapped[str] = mapped_column(Text, primary_key=True)
    offset: Mapped[str] = mapped_column("position", Text)


class UnconfirmedClick(Base):
    """Clicks whose append to the stream was never confirmed: it may have happened or not.

    `clicks.roll_up` reconciles them: those that are not in the stream are counted from here.
    """

    __tablename__ = "unsettled_clicks"

    batch: Mapped[str] = mapped_column(Text, primary_key=True)
    link_id: Mapped[UUID] = mapped_column(
        ForeignKey("links.id", ondelete="CASCADE"), primary_key=True
    )
    clicks: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class Invalidation(Base):
    """A changed link whose cache entry has to be deleted: see `invalidation`."""

    __tablename__ = "link_invalidations"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    slug: Mapped[str] = mapped_column(Text)


class ImportStatus(StrEnum):
    UPLOADING = "uploading"  # its file is arriving; nobody knows its id yet
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"


ENDED = frozenset({ImportStatus.FINISHED, ImportStatus.FAILED})


class Import(Base):
    """A CSV file and how far it has come. The pieces of the file are dropped at the end."""

    __tablename__ = "imports"
    __table_args__ = (
        CheckConstraint(
            "status IN ('uploading', 'queued', 'running', 'finished', 'failed')",
            name="status_is_known",
        ),
        CheckConstraint("(status = 'failed') = (failure IS NOT NULL)", name="failure_is_told"),
        CheckConstraint("done + failed <= total", name="rows_add_up"),
        Index(None, "updated_at", postgresql_where=text("status <> 'finished'")),
        Index(None, "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))
    status: Mapped[str] = mapped_column(Text, server_default=ImportStatus.QUEUED)
    # Only the version before import_pieces writes the file here. A later one may drop the column.
    source: Mapped[bytes | None] = mapped_column(LargeBinary, deferred=True)
    total: Mapped[int] = mapped_column(server_default=text("0"))
    done: Mapped[int] = mapped_column(server_default=text("0"))
    failed: Mapped[int] = mapped_column(server_default=text("0"))
    next_row: Mapped[int] = mapped_column(server_default=text("2"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))  # since the last progress
    failure: Mapped[str | None] = mapped_column(Text)  # for the client
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("tokens.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    updated_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class ImportPiece(Base):
    """A part of an import's file, from 0."""

    __tablename__ = "import_pieces"

    import_id: Mapped[UUID] = mapped_column(
        ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    content: Mapped[bytes] = mapped_column(LargeBinary)


class RowError(Base):
    """A row that could not be imported, by its line in the file (the header is line 1)."""

    __tablename__ = "import_errors"

    import_id: Mapped[UUID] = mapped_column(
        ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True
    )
    row: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(Text)
    detail: Mapped[str] = mapped_column(Text)
