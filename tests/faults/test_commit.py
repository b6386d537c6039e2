"""A commit that fails after the handler has returned."""

from collections.abc import Iterator

import pytest

from tests.service import Service

# Postgres checks a deferred constraint at the commit.
REFUSE = """
    CREATE FUNCTION refuse_at_commit() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'refused at the commit'; END $$;
    CREATE CONSTRAINT TRIGGER refuse_at_commit AFTER INSERT ON tokens
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_at_commit();
"""
ALLOW = "DROP TRIGGER refuse_at_commit ON tokens; DROP FUNCTION refuse_at_commit()"


@pytest.fixture
def refusing(service: Service) -> Iterator[Service]:
    service.query(REFUSE)
    yield service
    service.query(ALLOW)


class TestCommitFails:
    """The client gets an error, and nothing of the cause."""

    async def test_the_client_sees_an_error(self, refusing: Service) -> None:
        async with refusing.client() as client:
            body = {"name": "never stored", "scopes": ["tokens:write"]}
            answer = await client.post("/api/v1/tokens", json=body)
        assert answer.status_code == 500
        assert answer.json()["code"] == "internal_error"
        assert "refused at the commit" not in answer.text
        assert refusing.query("SELECT 1 FROM tokens WHERE name = 'never stored'") == []
