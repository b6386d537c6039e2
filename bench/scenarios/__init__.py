"""What is measured: each module here has a function `prepare`, which returns a `Scenario`."""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bench.laboratory import Laboratory, Server
from bench.load import Exchange, Outcome


@dataclass(frozen=True)
class Row:
    """A row of the table: its name, which server is asked, and for what."""

    name: str
    server: Server
    exchanges: Sequence[Exchange]


class Scenario(Protocol):
    """A part of the service: the rows that it adds, and a check once all are measured."""

    @property
    def rows(self) -> Sequence[Row]: ...

    def check(self, laboratory: Laboratory, runs: Mapping[str, Sequence[Outcome]]) -> bool:
        """Print what else was found; return whether all of it was right."""


def prepare_all(laboratory: Laboratory, service: Server, token: str) -> list[Scenario]:
    """Every scenario of this folder, its data made. The token may do everything."""
    modules = [
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    ]
    return [module.prepare(laboratory, service, token) for module in modules]
