"""The Merkle log's door: checkpoint, proofs and tiles for anybody, a receipt's proof for its own account."""

from typing import Annotated, Final, Literal, cast

from litestar import MediaType, Response, get
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from services.receipts.cosignatures import Cosignatures
from services.receipts.prove import Proving
from services.receipts.routes.documents import ProofOperation, describe_problems
from shared.contracts.keys import SCOPE_READ, Principal
from shared.contracts.receipts import Consistency, Inclusion
from shared.errors import NotFoundError
from shared.proofs.tlog.tiles import parse_tile_path
from shared.proofs.tlog.tlog_proof import TlogProof, decode_hashes
from shared.web.principal import require_scope

_IMMUTABLE: Final = {"cache-control": "public, max-age=31536000, immutable"}
_FRESH: Final = {"cache-control": "no-cache"}
_OWN: Final = {"cache-control": "no-store"}
_LARGEST: Final = 2**63 - 1

Size = Annotated[int, QueryParameter(ge=0, le=_LARGEST, name="from", description="the older tree's size")]
NewSize = Annotated[
    int | None,
    QueryParameter(ge=0, le=_LARGEST, description="the newer tree's size; default: the checkpoint's"),
]
Witnessed = Annotated[
    bool, QueryParameter(description="the newest checkpoint that enough witnesses have cosigned")
]

ProofFormat = Annotated[
    Literal["json", "tlog-proof"],
    QueryParameter(description="`tlog-proof` is the text of C2SP tlog-proof, to be saved under that suffix"),
]


def build_log_routes(proving: Proving, cosignatures: Cosignatures) -> list[HTTPRouteHandler]:
    """The handlers of the log."""

    @get(
        "/api/v1/receipts/checkpoint",
        responses=describe_problems(404, 429, 503),
        media_type=MediaType.TEXT,
        summary="The log's newest signed checkpoint (C2SP tlog-checkpoint)",
        tags=["log"],
    )
    async def get_checkpoint(
        *,
        witnessed: Witnessed = False,
        for_witnesses: Annotated[
            bool, QueryParameter(description="the one that witnesses are asked to cosign now")
        ] = False,
    ) -> Response[str]:
        if witnessed:
            note = (await cosignatures.get_witnessed()).note
        elif for_witnesses:
            note = await cosignatures.get_candidate()
        else:
            note = await cosignatures.get_checkpoint()
        return Response(note, media_type=MediaType.TEXT, headers=_FRESH)

    @get(
        "/api/v1/receipts/verifier-keys.txt",
        responses=describe_problems(429, 503),
        media_type=MediaType.TEXT,
        summary="The keys that ever signed checkpoints, a line each (C2SP signed-note)",
        tags=["log"],
    )
    async def get_verifier_keys() -> Response[str]:
        keys = "".join(f"{key.text}\n" for key in await proving.list_verifier_keys())
        return Response(keys, media_type=MediaType.TEXT, headers=_FRESH)

    @get(
        "/api/v1/receipts/consistency",
        responses=describe_problems(422, 429, 503),
        summary="That the log of one size begins with that of another (RFC 9162)",
        tags=["log"],
    )
    async def get_consistency(from_: Size, to: NewSize = None) -> Response[Consistency]:
        return Response(await proving.prove_consistency(from_, to), headers=_FRESH)

    @get(
        "/api/v1/receipts/tile/{name:path}",
        responses=describe_problems(404, 429, 503),
        media_type="application/octet-stream",
        summary="A tile of hashes (C2SP tlog-tiles)",
        tags=["log"],
    )
    async def get_tile(name: FromPath[str]) -> Response[bytes]:
        if name.removeprefix("/").startswith("entries/"):
            raise NotFoundError("The log's entries are receipts: each is given to its own account alone.")
        tile = parse_tile_path(name.removeprefix("/"))
        if tile is None:
            raise NotFoundError("That is not the name of a tile.")
        return Response(
            await proving.read_tile(tile), media_type="application/octet-stream", headers=_IMMUTABLE
        )

    return [get_checkpoint, get_verifier_keys, get_consistency, get_tile]


def build_proof_route(proving: Proving, cosignatures: Cosignatures) -> HTTPRouteHandler:
    """The handler of a receipt's proof."""

    @get(
        "/api/v1/receipts/{receipt_id:str}/proof",
        operation_class=ProofOperation,
        responses=describe_problems(401, 403, 404, 429, 503),
        summary="That a receipt is in the log (RFC 9162)",
        tags=["receipts"],
    )
    async def get_proof(
        principal: NamedDependency[Principal],
        receipt_id: FromPath[str],
        *,
        witnessed: Witnessed = False,
        format: ProofFormat = "json",  # noqa: A002 - the parameter's own name, which errors tell
    ) -> Response[Inclusion]:
        require_scope(principal, SCOPE_READ)
        within = await cosignatures.get_witnessed() if witnessed else None
        proof = await proving.prove_inclusion(principal.account_id, receipt_id, within)
        if format == "json":
            return Response(proof, headers=_OWN)
        text = TlogProof(proof.leaf_index, decode_hashes(proof.hashes), proof.checkpoint).encode()
        name = f'attachment; filename="{receipt_id.lower()}.tlog-proof"'
        return cast(
            "Response[Inclusion]",
            Response(text, media_type=MediaType.TEXT, headers={**_OWN, "content-disposition": name}),
        )

    return get_proof
