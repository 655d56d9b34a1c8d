"""Single models, and one provider's models for the published client."""

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath

from services.registry.books import Books
from services.registry.model_view import ModelView
from services.registry.routes.answer import CURRENT, IMMUTABLE, UNCHANGED, answer_with
from services.registry.routes.query import AnyRequest, Version, check_optional, check_single
from shared.contracts.registry import CurrentBook, ModelPage, NumberedBook


def build_models(view: ModelView, books: Books) -> list[HTTPRouteHandler]:
    """The handlers of models.

    Args:
        view: answers about one model.
        books: answers with the models of one provider.
    """

    @get(
        "/registry/models/{provider:str}/{model:path}",
        summary="One model, and what it cost over time",
        tags=["registry"],
        responses={200: ResponseSpec(ModelPage, description="the model"), **UNCHANGED},
    )
    async def model_page(
        request: AnyRequest, provider: FromPath[str], model: FromPath[str], version: Version = None
    ) -> Response[bytes]:
        check_single(request, "version")
        name = model.removeprefix("/").removesuffix("/")
        edition = await view.get_model(provider, name, check_optional(version))
        return await answer_with(request, edition, CURRENT)

    @get(
        "/registry/{provider:str}/models.json",
        summary="A provider's models now, as the published client reads them",
        tags=["registry"],
        responses={200: ResponseSpec(CurrentBook, description="the models, by key"), **UNCHANGED},
    )
    async def current_book(request: AnyRequest, provider: FromPath[str]) -> Response[bytes]:
        return await answer_with(request, await books.get_current(provider), CURRENT)

    @get(
        "/registry/{provider:str}/v/{number:str}/models.json",
        summary="A provider's models by the provider's own version number",
        tags=["registry"],
        responses={200: ResponseSpec(NumberedBook, description="the models, as a list"), **UNCHANGED},
    )
    async def numbered_book(
        request: AnyRequest, provider: FromPath[str], number: FromPath[str]
    ) -> Response[bytes]:
        return await answer_with(request, await books.get_numbered(provider, number), IMMUTABLE)

    return [model_page, current_book, numbered_book]
