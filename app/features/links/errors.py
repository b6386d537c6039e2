"""The errors of links and imports."""

from app.errors import AppError, NotFound


class LinkNotFound(NotFound):
    code = "link_not_found"
    title = "There is no such link"


class LinkExpired(AppError):
    code = "link_expired"
    status = 410
    title = "This link has expired"


class SlugTaken(AppError):
    code = "slug_taken"
    status = 409
    title = "This slug is taken"


class ImportNotFound(NotFound):
    code = "import_not_found"
    title = "There is no such import"


class TooManyImports(AppError):
    code = "too_many_imports"
    status = 429
    title = "Too many imports are under way"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class TooManyStreams(AppError):
    code = "too_many_streams"
    status = 429
    title = "Too many streams are open"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class FileInvalid(AppError):
    """The file as a whole can't be imported. A bad row is an error of the import instead."""

    code = "file_invalid"
    status = 422
    title = "This file can't be imported"
