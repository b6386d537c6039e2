"""What everything is compared with: one FastAPI route that returns a constant redirect."""

from fastapi import FastAPI
from starlette.responses import RedirectResponse

TARGET = "https://example.com/constant"

app = FastAPI()


@app.get("/constant")
async def redirect() -> RedirectResponse:
    return RedirectResponse(TARGET, status_code=302)
