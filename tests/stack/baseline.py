"""What the image is compared with: the least that FastAPI and SQLAlchemy can be, on uvicorn.

It runs in our image, from the same packages, so what differs is what the service adds.
"""

import os
from pathlib import Path

from fastapi import FastAPI
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

password = Path("/run/secrets/database_password").read_text(encoding="utf-8").strip()
engine = create_async_engine(make_url(os.environ["DATABASE_URL"]).set(password=password))
app = FastAPI()


@app.get("/health/ready")
async def ready() -> dict[str, str]:
    async with engine.connect() as connection:
        await connection.execute(text("SELECT 1"))
    return {}
