"""Parameters that several paths have, and what holds for all of them."""

from typing import Annotated, Any, TypeAlias

from litestar import Request
from litestar.params import Parameter

from services.registry.lookup import check_version
from shared.errors import Fault, InvalidFieldError

AnyRequest: TypeAlias = Request[Any, Any, Any]

Version = Annotated[str | None, Parameter(description="a version, YYYY.MM.DD or YYYY.MM.DD.n")]


def check_single(request: AnyRequest, *names: str) -> None:
    """Let pass a query in which each of these parameters stands once at most.

    Raises:
        InvalidFieldError: one stands there more often, and they may not say the same.
    """
    faults = [
        Fault(name, "is given more than once")
        for name in names
        if len(request.query_params.getall(name, [])) > 1
    ]
    if faults:
        raise InvalidFieldError.all(faults)


def check_optional(version: str | None, field: str = "version") -> str | None:
    """Let the name of a version pass, or None.

    Raises:
        InvalidFieldError: it is not the name of a version.
    """
    return None if version is None else check_version(version, field)
