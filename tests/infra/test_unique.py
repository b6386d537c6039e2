"""Unique constraints as errors of the API."""

from uuid import UUID

import pytest
from sqlalchemy.exc import IntegrityError

from app.errors import AppError
from app.features.tokens.models import Token
from app.infra.db import transaction
from app.infra.lifespan import Resources
from app.infra.unique import flush_unique


class TakenError(AppError):
    code = "taken"
    status = 409
    title = "It is taken"


class TestFlushUnique:
    """A violated constraint raises its error. Without one, the database's own goes on."""

    @pytest.mark.parametrize(
        ("constraint", "error"), [("pk_tokens", TakenError), ("pk_others", IntegrityError)]
    )
    async def test_by_name(
        self, resources: Resources, constraint: str, error: type[Exception]
    ) -> None:
        taken = {constraint: TakenError("Choose another one.")}
        async with transaction(resources.sessions) as session:
            session.add(Token(id=UUID(int=1), name="first", scopes=["x"], hash=b"1" * 32))
            await flush_unique(session, taken)
        async with resources.sessions.writers() as session:
            session.add(Token(id=UUID(int=1), name="second", scopes=["x"], hash=b"2" * 32))
            with pytest.raises(error):
                await flush_unique(session, taken)
