"""What every problem document of the service has in common."""

from typing import Any

import httpx


def check_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Every problem has this shape."""
    problem: dict[str, Any] = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["type"] == f"urn:problem-type:{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert set(problem) - {"errors"} == {"type", "title", "status", "detail", "code", "request_id"}
    return problem
