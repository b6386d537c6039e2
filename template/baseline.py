"""The least service of the same packages, run by gunicorn as ours is.

It runs in our image and imports each package that our web process imports. So what differs is what
our own code adds.
"""

import os
from importlib import import_module
from pathlib import Path

from fastapi import FastAPI
from redis.asyncio import Redis
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

for name in (
    *("jinja2", "orjson", "prometheus_client", "pydantic_settings", "python_multipart"),
    *("saq", "structlog"),
):
    import_module(name)


def secret(name: str) -> str:
    return Path(f"/run/secrets/{name}").read_text(encoding="utf-8").strip()


database_url = make_url(os.environ["DATABASE_URL"]).set(password=secret("database_password"))
engine = create_async_engine(database_url)
redis = Redis.from_url(os.environ["REDIS_URL"], password=secret("redis_password"))
app = FastAPI()


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    await redis.get("nothing")
    return {}
