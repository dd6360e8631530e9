"""Forms with a file (multipart/form-data), as bodies of requests."""

from __future__ import annotations

from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from bezel.service.errors import ApiError
from bezel.service.requests.common import Body

Fields = TypeVar("Fields", bound=Body)
_MOST_FIELDS = 32
_LONGEST_FIELD = 64 << 10


async def read_form(request: Request, kind: type[Fields]) -> tuple[Fields, bytes]:
    """The fields of a form, and the bytes of its part `file`.

    Raises ApiError "not_form" for what is none, for a field that is there twice and without a file, "storage" where
    there is no room for the file, and RequestValidationError where a field is not as `kind` says.
    """
    try:
        form = await request.form(max_files=1, max_fields=_MOST_FIELDS, max_part_size=_LONGEST_FIELD)
    except OSError:  # larger files are put aside while they come
        raise ApiError("storage") from None
    except UnicodeError:  # of a charset that the form names
        raise ApiError("not_form", "Send it as UTF-8.") from None
    except HTTPException as error:
        if error.status_code != 400:
            raise
        raise ApiError("not_form", f"At most {_MOST_FIELDS} fields and one file are taken.") from None
    try:
        texts: dict[str, str] = {}
        data: bytes | None = None
        for name, value in form.multi_items():
            if name == "file" and isinstance(value, UploadFile):
                data = await value.read()
            elif name in texts or isinstance(value, UploadFile):
                raise ApiError("not_form", "A field is there twice, or a file under another name than `file`.")
            else:
                texts[name] = value
        if data is None:
            raise ApiError("not_form", "It has no file; send one as `file`.", "file")
    finally:
        await form.close()
    try:
        return kind.model_validate_strings(texts), data
    except ValidationError as error:
        raise RequestValidationError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None
