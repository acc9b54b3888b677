"""The receiver's addresses as an OpenAPI document, for whoever wants to check or to call them by machine."""

from typing import Any

from worker import __version__

_TEXT = {"type": "string"}
_REASON = {
    "type": "object",
    "required": ["status", "reason"],
    "properties": {"status": _TEXT, "reason": {"type": ["string", "null"]}},
}
_TAKEN = {
    "type": "object",
    "required": ["status", "job_id", "delivery_id", "duplicate"],
    "properties": {
        "status": {"enum": ["received", "queued", "processing", "processed", "failed", "spooled"]},
        "job_id": {"type": ["string", "null"], "format": "uuid"},
        "delivery_id": _TEXT,
        "duplicate": {"type": "boolean"},
    },
}
_HEALTH = {
    "type": "object",
    "required": ["status", "supabase_status", "latency_ms", "version", "reasons"],
    "properties": {
        "status": {"enum": ["ok", "degraded", "down"]},
        "supabase_status": {"enum": ["up", "down"]},
        "latency_ms": {"type": ["number", "null"]},
        "queue": {"type": "object", "additionalProperties": {"type": "integer"}},
        "oldest_seconds": {"type": "number"},
        "workers": {"type": "integer"},
        "spooled": {"type": "integer"},
        "version": _TEXT,
        "reasons": {"type": "array", "items": _TEXT},
    },
}
_LIVE = {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}
_REFUSALS = {
    400: "The headers or the body cannot be read.",
    401: "The repository is unknown or the signature is wrong: nobody is told which.",
    403: "Not from an allowed address.",
    408: "The body did not arrive in time.",
    413: "The body is over the limit.",
    429: "The repository delivers faster than it may; Retry-After says when to come again.",
    503: "Postgres does not answer; Retry-After says when to come again.",
}
_HEADERS = ("X-GitHub-Event", "X-GitHub-Delivery", "X-Hub-Signature-256")


def document() -> dict[str, Any]:
    """OpenAPI 3.1."""
    repository = {"name": "repository_id", "in": "path", "required": True, "schema": {"type": "string"}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Indexing Worker: the receiver", "version": __version__},
        "paths": {
            "/webhooks/github/{repository_id}": {"post": _webhook("receive", [repository])},
            "/webhooks/github": {"post": _webhook("receive_of_app", [])},
            "/health": {
                "get": {
                    "operationId": "health",
                    "responses": {"200": _answer("Well, or degraded.", _HEALTH), "503": _answer("Down.", _HEALTH)},
                }
            },
            "/health/live": {"get": {"operationId": "live", "responses": {"200": _answer("Alive.", _LIVE)}}},
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "responses": {"200": {"description": "Prometheus.", "content": {"text/plain": {"schema": _TEXT}}}},
                }
            },
        },
    }


def _webhook(name: str, parameters: list[dict[str, Any]]) -> dict[str, Any]:
    headers = [{"name": header, "in": "header", "required": True, "schema": _TEXT} for header in _HEADERS]
    payload = {"type": "object"}
    form = {"type": "object", "required": ["payload"], "properties": {"payload": _TEXT}}
    return {
        "operationId": name,
        "parameters": parameters + headers,
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": payload},
                "application/x-www-form-urlencoded": {"schema": form},
            },
        },
        "responses": {
            "200": _answer("Nothing to index, and why; or the webhook is set up.", _REASON),
            "202": _answer("The delivery and its job are committed, or on disk (`spooled`).", _TAKEN),
            **{str(status): _answer(text, _REASON) for status, text in _REFUSALS.items()},
        },
    }


def _answer(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}
