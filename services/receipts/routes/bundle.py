"""One receipt: as it is, in the form of an old client, or with all that a stranger needs to check it."""

from typing import Annotated, Final, Literal

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from services.receipts.llmring_1_0 import OldForm
from services.receipts.prove import Proving
from services.receipts.read import Reading
from services.receipts.routes.documents import describe_problems
from services.receipts.verify import Verification
from shared.contracts.evidence import Bundle, OldReceipt
from shared.contracts.keys import SCOPE_READ, Principal
from shared.contracts.receipts import Receipt
from shared.errors import InvalidFieldError
from shared.web.principal import require_scope

_LARGEST: Final = 2**63 - 1

OldSize = Annotated[
    int | None,
    QueryParameter(
        ge=0, le=_LARGEST, description="size of a checkpoint that you kept: prove it is the same log"
    ),
]


ReceiptFormat = Annotated[
    Literal["json", "llmring-1.0"],
    QueryParameter(description="`llmring-1.0` is the form of the `llmring` 1.0.0 package"),
]


def build_bundle_routes(
    reading: Reading, proving: Proving, verification: Verification, old_form: OldForm
) -> list[HTTPRouteHandler]:
    """The handlers of single receipts."""

    @get(
        "/api/v1/receipts/{receipt_id:str}",
        responses=describe_problems(401, 403, 404, 422, 429, 503),
        summary="One receipt of the account",
        tags=["receipts"],
    )
    async def get_receipt(
        principal: NamedDependency[Principal],
        receipt_id: FromPath[str],
        format: ReceiptFormat = "json",  # noqa: A002 - the parameter's own name, which errors tell
    ) -> Receipt | OldReceipt:
        require_scope(principal, SCOPE_READ)
        if format == "llmring-1.0":
            return await old_form.get_receipt(principal.account_id, receipt_id)
        return await reading.get_receipt(principal.account_id, receipt_id)

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
        receipt = await reading.get_receipt(principal.account_id, receipt_id)
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

    return [get_receipt, get_bundle]
