"""What holds for all features of the registry."""

from collections.abc import Iterator
from typing import Any

from app.registry import FEATURES
from tests.live import WithState, client_of


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


class TestFeatures:
    """The names of features, and of the worker's jobs, are unique."""

    def test_names_are_unique(self) -> None:
        works = [feature.work for feature in FEATURES]
        jobs = [job.__qualname__ for work in works for job in work.jobs]
        crons = [cron.task.__qualname__ for work in works for cron in work.crons]
        for names in ([feature.name for feature in FEATURES], jobs + crons):
            assert len(set(names)) == len(names), names


class TestOperations:
    """Every operation of the API asks for a token, and says so."""

    async def test_none_answers_a_stranger(self, app: WithState, document: dict[str, Any]) -> None:
        guarded = [(m, path) for m, path, _ in operations(document) if path.startswith("/api/")]
        assert guarded
        for number, (method, path) in enumerate(guarded):
            # Each is another stranger: one may fail only so often in a minute.
            async with client_of(app, peer=f"10.0.{number // 256}.{number % 256}") as client:
                answer = await client.request(method, path.replace("{", "").replace("}", ""))
            assert (answer.status_code, answer.json()["code"]) == (401, "token_invalid"), path

    def test_each_documents_its_token_and_its_refusals(self, document: dict[str, Any]) -> None:
        for method, path, operation in operations(document):
            assert operation.get("description"), (method, path)
            if path.startswith("/api/"):
                assert operation["security"] == [{"HTTPBearer": []}], (method, path)
                assert {"401", "403", "422", "429", "503"} <= set(operation["responses"])
