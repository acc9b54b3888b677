"""The no-op job types of the benchmark; workers load them through WORKER_HANDLERS."""

import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from worker.handlers.registry import handler
from worker.job import InlineContext, JobContext


class Nothing(BaseModel):
    """No payload."""


@handler("bench_nothing", payload=Nothing)
async def nothing(context: InlineContext, payload: Nothing) -> Mapping[str, Any]:
    """Do nothing, inline."""
    return {}


@handler("bench_pickup", payload=Nothing)
async def pickup(context: InlineContext, payload: Nothing) -> Mapping[str, Any]:
    """Say when it began, inline."""
    return {"started": time.monotonic_ns()}


@handler("bench_pickup_child", payload=Nothing)
def pickup_child(context: JobContext, payload: Nothing) -> Mapping[str, Any]:
    """Say when it began, in a child process."""
    return {"started": time.monotonic_ns()}
