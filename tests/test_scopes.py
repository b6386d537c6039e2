"""Scopes: every operation of the API needs some, and they cover what its answer holds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from app.features.tokens.auth import Authenticated
from app.features.tokens.scopes import declared_scopes
from app.registry import FEATURES
from tests.conftest import MakeToken

API = "/api/"
MADE = {201, 202}  # the answer is what this request has made


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    status: int
    needs: frozenset[str]
    models: frozenset[type[BaseModel]]

    @property
    def target(self) -> str:
        nobody = "00000000-0000-0000-0000-000000000000"
        return "/".join(nobody if part.startswith("{") else part for part in self.path.split("/"))


def operations() -> Iterator[Operation]:
    routers = [router for feature in FEATURES for router in feature.routers]
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute) and route.path.startswith(API):
            for method in sorted(route.methods or ()):
                yield Operation(
                    method,
                    route.path,
                    route.status_code or 200,
                    frozenset(_needed(route.dependant)),
                    frozenset(_models(route.response_model)),
                )


def _needed(dependant: Dependant) -> Iterator[str]:
    call = getattr(dependant.call, "__self__", dependant.call)
    if isinstance(call, Authenticated):
        yield from call.scopes
    for one in dependant.dependencies:
        yield from _needed(one)


def _models(kind: Any) -> Iterator[type[BaseModel]]:
    """The features' models in an answer: its own, those that it is built on, and those inside."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        yield from (base for base in kind.mro() if base.__module__.startswith("app.features."))
        for field in kind.model_fields.values():
            yield from _models(field.annotation)
    for part in get_args(kind):
        yield from _models(part)


OPERATIONS: Sequence[Operation] = [*operations()]


def by_name(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


@pytest.mark.parametrize("operation", OPERATIONS, ids=by_name)
class TestEachOperation:
    """It refuses a token without its scopes, and its answer holds nothing that needs others."""

    async def test_it_needs_its_scopes_and_no_others(
        self, operation: Operation, client: httpx.AsyncClient, make_token: MakeToken
    ) -> None:
        assert operation.needs
        assert operation.needs <= set(declared_scopes())
        for scopes in [*({one} for one in declared_scopes()), operation.needs]:
            token = await make_token(*scopes)
            answer = await client.request(
                operation.method,
                operation.target,
                json={},
                headers={"Authorization": f"Bearer {token}"},
            )
            refused = answer.status_code == httpx.codes.FORBIDDEN
            assert refused is not operation.needs.issubset(scopes), (scopes, answer.text)
            assert answer.status_code != httpx.codes.UNAUTHORIZED
            if refused:
                assert answer.json()["code"] == "scope_missing"

    def test_its_scopes_cover_its_answer(self, operation: Operation) -> None:
        """What one can read with GET and a scope, no other operation shows without that scope."""
        if operation.status in MADE:
            return
        for reading in OPERATIONS:
            shared = operation.models & reading.models
            if reading.method == "GET" and shared:
                assert reading.needs <= operation.needs, shared
