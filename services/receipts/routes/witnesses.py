"""What witnesses have to do with the log: who they are, and what they bring."""

from typing import Final

from litestar import Response, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import RawBody

from services.receipts.cosignatures import Cosignatures
from services.receipts.routes.documents import CosignedOperation, describe_problems
from shared.contracts.receipts import CosignaturesTaken, WitnessStates
from shared.errors import TooLargeError
from shared.proofs.tlog.note import MAX_NOTE_BYTES

_FRESH: Final = {"cache-control": "no-cache"}


def build_witness_routes(cosignatures: Cosignatures) -> list[HTTPRouteHandler]:
    """The handlers, which need no key."""

    @get(
        "/api/v1/receipts/witnesses",
        responses=describe_problems(429, 503),
        summary="The log's witnesses, and how far each of them is",
        tags=["log"],
    )
    async def get_witnesses() -> Response[WitnessStates]:
        return Response(await cosignatures.describe(), headers=_FRESH)

    @post(
        "/api/v1/receipts/cosignatures",
        status_code=200,
        operation_class=CosignedOperation,
        responses=describe_problems(400, 403, 413, 422, 429, 503),
        summary="Bring cosignatures of a checkpoint (C2SP tlog-cosignature)",
        tags=["log"],
    )
    async def post_cosignatures(body: RawBody) -> CosignaturesTaken:
        if len(body) > MAX_NOTE_BYTES:
            raise TooLargeError(f"A cosigned checkpoint is at most {MAX_NOTE_BYTES} bytes long.")
        return await cosignatures.take(body)

    return [get_witnesses, post_cosignatures]
