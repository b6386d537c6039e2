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


class FileInvalid(AppError):
    """The file as a whole can't be imported. A bad row is an error of the import instead."""

    code = "file_invalid"
    status = 422
    title = "This file can't be imported"
