"""The errors of tokens."""

from app.errors import AppError, NotFound


class TokenInvalid(AppError):
    """Missing, malformed, unknown, expired or revoked. The answer does not say which."""

    code = "token_invalid"
    status = 401
    title = "A valid token is needed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class ScopeMissing(AppError):
    code = "scope_missing"
    status = 403
    title = "The token does not allow this"


class TokenNotFound(NotFound):
    code = "token_not_found"
    title = "There is no such token"
