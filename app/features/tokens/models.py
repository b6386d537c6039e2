"""The tables of tokens and of the sessions of browsers. They hold hashes, never a secret."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column

from app.infra.db import Base


class Token(Base):
    __tablename__ = "tokens"
    __table_args__ = (
        CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),
        CheckConstraint("name <> '' AND char_length(name) <= 100", name="name_length"),
        CheckConstraint("cardinality(scopes) > 0", name="scopes_not_empty"),
        Index(None, "created_by"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, server_default=text("uuidv7()"))
    name: Mapped[str] = mapped_column(Text)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(
        TIMESTAMP(timezone=True), server_default=text("now()")
    )
    expires_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(TIMESTAMP(timezone=True))
    # Its parent: the token that made it. `python -m app token create` makes those without one.
    created_by: Mapped[UUID | None] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"))


class BrowserSession(Base):
    """A browser that signed in with a token. Its cookie holds a secret with this hash."""

    __tablename__ = "browser_sessions"
    __table_args__ = (CheckConstraint("octet_length(hash) = 32", name="hash_is_sha256"),)

    hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    token_id: Mapped[UUID] = mapped_column(ForeignKey("tokens.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(
        TIMESTAMP(timezone=True), server_default=text("now()")
    )
    last_seen_at: Mapped[datetime] = mapped_column(
        TIMESTAMP(timezone=True), server_default=text("now()")
    )
    expires_at: Mapped[datetime] = mapped_column(TIMESTAMP(timezone=True))
