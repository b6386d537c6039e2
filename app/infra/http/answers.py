"""An answer that ends a request early, as an error does: nothing that it changed is committed."""

from starlette.requests import Request
from starlette.responses import Response


class Answered(Exception):
    """Raise this in a handler or a dependency to send `answer`."""

    def __init__(self, answer: Response) -> None:
        self.answer = answer


async def send_answer(_request: Request, answered: Exception) -> Response:
    assert isinstance(answered, Answered)
    return answered.answer
