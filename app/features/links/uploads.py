"""The body of POST /api/v1/imports: a form's field `file`, or plain CSV."""

from typing import Annotated, Any

from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from app.errors import BodyTooLarge, UnsupportedMediaType, ValidationFailed
from app.features.links.scopes import LINKS_WRITE
from app.features.tokens.auth import Authenticated
from app.features.tokens.known import Caller
from app.infra.lifespan import ResourcesDep

_RULE = "Must be UTF-8, with a header line that names url, and with rows below it."

UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": {"type": "string", "format": "binary", "description": _RULE}
                },
            }
        },
        "text/csv": {
            "schema": {"type": "string", "description": _RULE},
            "example": "url,slug,title,expires_at\nhttps://example.com/,example,An example,\n",
        },
    },
}


Uploader = Annotated[Caller, Depends(Authenticated(LINKS_WRITE, "write"))]


async def read_upload(request: Request, resources: ResourcesDep, _uploader: Uploader) -> bytes:
    """The file's bytes. They are read after the caller was authenticated."""
    return await read_file(request, most=resources.settings.max_upload_bytes)


async def read_file(request: Request, *, most: int) -> bytes:
    """The file's bytes. Raises `BodyTooLarge` above `most`; the body limit refuses larger ones."""
    file = await _read_body(request)
    if len(file) > most:
        raise BodyTooLarge(f"The file has more than {most} bytes: split it.")
    return file


async def _read_body(request: Request) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == "text/csv":
        return await request.body()
    if media_type == "multipart/form-data":
        return await _read_form(request)
    raise UnsupportedMediaType("Send text/csv, or multipart/form-data with the field file.")


async def _read_form(request: Request) -> bytes:
    async with request.form(max_files=1, max_fields=10) as form:
        file = form.get("file")
        if isinstance(file, UploadFile):
            return await file.read()
    raise ValidationFailed(
        "The form has no file.",
        errors=[{"field": "body.file", "detail": "send the CSV as a file in this field"}],
    )


UploadDep = Annotated[bytes, Depends(read_upload)]
