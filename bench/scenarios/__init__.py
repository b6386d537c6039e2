"""What is measured: each module here has a function `prepare`, which returns a `Scenario`."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench.laboratory import Laboratory, Server
from bench.load import Exchange, Outcome

Runs = Mapping[str, Sequence[Outcome]]  # by the name of the row


@dataclass(frozen=True)
class Row:
    """A row of the table: its name, which server is asked, and for what.

    `beside` names the row that it is compared with, the first row by default.
    """

    name: str
    server: Server
    exchanges: Sequence[Exchange]
    beside: str = ""


@dataclass(frozen=True)
class Scenario:
    """The rows that a part of the service adds, and a check once all are measured.

    `check` prints what else was found, and returns whether all of it was right.
    """

    rows: Sequence[Row]
    check: Callable[[Runs], bool] = lambda _runs: True


def prepare_all(laboratory: Laboratory, service: Server, token: str) -> list[Scenario]:
    """Every scenario of this folder, its data made. The token may do everything."""
    modules = [
        importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)
    ]
    return [module.prepare(laboratory, service, token) for module in modules]
