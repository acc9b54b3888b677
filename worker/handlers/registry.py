"""Job types and the code that does them. A handler registers itself with a decorator; runtime finds it by job type.

A plain function runs in a child process of its own, which can be killed with all it started. An `async def` function
runs inline, in the worker's event loop beside many others: for light work that waits more than it computes.
"""

import importlib
import inspect
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from worker.errors import InvalidPayload, SettingsError, UnknownJobType
from worker.job import InlineContext, Job, JobContext

ChildHandler = Callable[[JobContext, Any], Mapping[str, Any]]
InlineHandler = Callable[[InlineContext, Any], Awaitable[Mapping[str, Any]]]
Handler = TypeVar("Handler", bound=ChildHandler | InlineHandler)


@dataclass(frozen=True, slots=True)
class Registration:
    """One job type: its handler and the type its payload must parse as."""

    job_type: str
    run: Callable[[Any, Any], Any]
    payload: type[BaseModel]
    inline: bool = False


_registrations: dict[str, Registration] = {}


def handler(job_type: str, *, payload: type[BaseModel]) -> Callable[[Handler], Handler]:
    """Register the decorated function for a job type.

    It gets a JobContext and the parsed payload, runs in a child process of its own, and returns the job's result
    (JSON). It ends an attempt otherwise by raising a JobError. An `async def` function gets an InlineContext instead
    and runs in the worker's own process: it must not block the loop, and only its time is limited.
    """

    def register(run: Handler) -> Handler:
        if job_type in _registrations and _registrations[job_type].run is not run:
            raise ValueError(f"job type {job_type!r} has a handler already: {_registrations[job_type].run}")
        _registrations[job_type] = Registration(job_type, run, payload, inspect.iscoroutinefunction(run))
        return run

    return register


def load_modules(names: Iterable[str]) -> None:
    """Import the modules that register further job types; raises SettingsError for one that cannot be imported."""
    for name in names:
        try:
            importlib.import_module(name)
        except ImportError as failure:
            raise SettingsError(
                f"WORKER_HANDLERS names {name}, which cannot be imported: {failure}.",
                hint="It must be importable by the worker: installed, or in a folder of PYTHONPATH.",
            ) from failure


def job_types(*, inline: bool | None = None) -> list[str]:
    """Every registered job type, sorted; only those whose handlers run inline, or only the others."""
    return sorted(name for name, found in _registrations.items() if inline is None or found.inline == inline)


def chosen_types(wanted: Collection[str]) -> list[str]:
    """The registered job types that are wanted (none: all); raises SettingsError for one without a handler."""
    if unknown := sorted(set(wanted) - set(_registrations)):
        raise SettingsError(
            f"WORKER_JOB_TYPES names {', '.join(unknown)}, which no handler is registered for.",
            hint=f"Known are {', '.join(job_types())}; WORKER_HANDLERS brings more.",
        )
    return sorted(wanted or _registrations)


def find(job_type: str) -> Registration:
    """The registration of a job type; raises UnknownJobType."""
    try:
        return _registrations[job_type]
    except KeyError:
        known = ", ".join(job_types()) or "none"
        raise UnknownJobType(
            f"No handler is registered for job type {job_type!r} (known: {known}).",
            hint="Register one with @handler, or deploy the version that has it, and retry the job.",
        ) from None


def parse_payload(registration: Registration, job: Job) -> BaseModel:
    """The job's payload as its handler's type; raises InvalidPayload with every problem named."""
    try:
        return registration.payload.model_validate(dict(job.payload))
    except ValidationError as failure:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in error['loc']) or 'payload'}: {error['msg']}"
            for error in failure.errors(include_url=False, include_input=False)
        )
        raise InvalidPayload(f"The payload of this {job.job_type} job cannot be used: {problems}.") from None
