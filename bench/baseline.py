"""What the service is compared with: FastAPI and SQLAlchemy as their pages show them.

It has no authentication, no limits, no metrics and no log. DATABASE_URL names the database.
"""

import os
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Text, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from starlette.responses import RedirectResponse

TARGET = "https://example.com/constant"


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    note: Mapped[str | None] = mapped_column(Text)


class ItemCreate(BaseModel):
    name: str
    note: str | None = None


class ItemRead(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    note: str | None


def create_app() -> FastAPI:
    app = FastAPI()
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
    engine = create_async_engine(url, pool_size=10, max_overflow=0)
    sessions = async_sessionmaker(engine, expire_on_commit=False)

    async def get_session() -> AsyncIterator[AsyncSession]:
        async with sessions() as session:
            yield session

    SessionDep = Annotated[AsyncSession, Depends(get_session)]  # noqa: N806 -- a type

    @app.get("/constant")
    async def redirect() -> RedirectResponse:
        return RedirectResponse(TARGET, status_code=302)

    @app.get("/items/{item_id}")
    async def read(item_id: int, session: SessionDep) -> ItemRead:
        item = await session.get(Item, item_id)
        if item is None:
            raise HTTPException(404)
        return ItemRead.model_validate(item)

    @app.get("/items")
    async def list_items(session: SessionDep, limit: int = 50) -> list[ItemRead]:
        items = await session.scalars(select(Item).order_by(Item.id.desc()).limit(limit))
        return [ItemRead.model_validate(item) for item in items]

    @app.post("/items", status_code=201)
    async def create(body: ItemCreate, session: SessionDep) -> ItemRead:
        item = Item(**body.model_dump())
        session.add(item)
        await session.commit()
        return ItemRead.model_validate(item)

    return app
