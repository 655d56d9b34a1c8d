"""One document with everything that a stranger needs to check a receipt without any server."""

from typing import Annotated, Final

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from services.receipts.prove import Proving
from services.receipts.read import Reading, as_receipt
from services.receipts.routes.documents import describe_problems
from services.receipts.verify import Verification
from shared.contracts.evidence import Bundle
from shared.contracts.keys import SCOPE_READ, Principal
from shared.errors import InvalidFieldError
from shared.web.principal import require_scope

_LARGEST: Final = 2**63 - 1

OldSize = Annotated[
    int | None,
    QueryParameter(
        ge=0, le=_LARGEST, description="size of a checkpoint that you kept: prove it is the same log"
    ),
]


def build_bundle_routes(
    reading: Reading, proving: Proving, verification: Verification
) -> list[HTTPRouteHandler]:
    """The handler of bundles."""

    @get(
        "/api/v1/receipts/{receipt_id:str}/bundle",
        responses=describe_problems(401, 403, 404, 422, 429, 503),
        summary="A receipt with all that is needed to check it offline",
        tags=["receipts"],
    )
    async def get_bundle(
        principal: NamedDependency[Principal], receipt_id: FromPath[str], since: OldSize = None
    ) -> Response[Bundle]:
        require_scope(principal, SCOPE_READ)
        receipt = as_receipt(await reading.get_row(principal.account_id, receipt_id))
        proof = await proving.prove_inclusion(principal.account_id, receipt_id)
        consistency = None
        if since is not None:
            if since > proof.tree_size:
                raise InvalidFieldError.of(
                    "since", f"must not be more than the log's size, {proof.tree_size}"
                )
            grown = await proving.prove_consistency(since, proof.tree_size)
            # The newer checkpoint is that of the proof. The older one is for the reader to have kept: from
            # us it would prove nothing.
            consistency = msgspec.structs.replace(grown, checkpoint=None)
        bundle = Bundle(
            receipt=receipt,
            proof=proof,
            public_keys=await verification.list_public_keys(),
            verifier_keys=[key.text for key in await proving.list_verifier_keys()],
            consistency=consistency,
        )
        headers = {
            "cache-control": "no-store",
            "content-disposition": f'attachment; filename="{receipt.receipt_id}.bundle.json"',
        }
        return Response(bundle, headers=headers)

    return [get_bundle]
