"""Scopes: what a token allows. Each feature declares its own, in a file of this name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NewType

Scope = NewType("Scope", str)

_declared: dict[Scope, str] = {}


def declare_scope(name: str, allows: str) -> Scope:
    """Declare a scope, such as `tokens:write`, with a sentence on what it allows.

    From then on tokens can have it, and the OpenAPI document lists it. Call it when a module is
    imported. Raises `ValueError` for a scope that is declared already.
    """
    scope = Scope(name)
    if scope in _declared:
        raise ValueError(f"The scope {name} is declared twice.")
    _declared[scope] = allows
    return scope


def declared_scopes() -> Mapping[Scope, str]:
    """All scopes with their sentences. Complete once `app.registry` is imported."""
    return MappingProxyType(_declared)


TOKENS_WRITE = declare_scope("tokens:write", "Create, list and revoke tokens.")
