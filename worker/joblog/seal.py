"""A job is at its end: all that was logged becomes one log, named by the job's row.

It may be killed at any step and called again. The commit point is the caller's row update, which names the log; nothing
is deleted before it. Only the owner of a lease token may seal with it: the token is in the log's name, so that nobody
else's seal can overwrite it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import NotFound, ObjectTooLarge
from worker.joblog.clean import marker
from worker.joblog.identity import LogIdentity, Segment
from worker.joblog.ship import Step, local_failures, no_step
from worker.joblog.sources import (
    Parts,
    Piece,
    covered_by,
    is_sealed_by,
    lines_of_parts,
    lines_of_piece,
    pieces,
    segments_of,
)
from worker.joblog.spool import Spool
from worker.joblog.store import LogStore

IN_MEMORY_BYTES = 4 * 1024 * 1024
LEAST_OBJECT_BYTES = 512 * 1024
"""A store that refuses even this as too large is not tried with less."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A job's whole log as the row shall name it: its objects in order, and their bytes and lines together."""

    parts: list[dict[str, Any]]
    bytes: int
    lines: int


def seal(
    store: LogStore,
    spool: Spool,
    identity: LogIdentity,
    *,
    previous: Parts,
    commit: Callable[[Sealed], bool],
    spare: Callable[[], int] = lambda: sys.maxsize,
    step: Step = no_step,
) -> Sealed | None:
    """Join earlier log, segments and spool into the log of a job at its end; None if the commit says it is not ours, or
    somebody seals with this token already.

    `previous` are the parts that the row names now. If they are this token's own, a crash came after the commit, and
    only the clearing is done. `commit` must answer True if the row names exactly these parts already: a False deletes
    the object. `spare`: bytes of the spool's disk that may be used meanwhile; a larger log goes in several objects.
    """
    with contextlib.ExitStack() as claims:
        with local_failures("sealing a log"):
            is_ours = claims.enter_context(spool.sealing(identity))
        if not is_ours:
            return None
        if is_sealed_by(previous, identity.token):
            _clear(store, spool, identity, step)
            return _known(previous)
        _something_to_come_back_to(spool, identity, claims)
        with local_failures("sealing a log"):
            earlier = _claim_earlier(spool, identity, claims)
            most = min(store.largest_object or sys.maxsize, max(spare(), IN_MEMORY_BYTES))
            sealed = _prepare_to_fit(store, spool, identity, previous, earlier, step, most)
        if not commit(sealed):
            _withdraw(store, spool, identity, sealed)
            return None
        step("committed")
        for one in earlier:
            _clear(store, spool, one, no_step)
        _clear(store, spool, identity, step)
        return sealed


def _something_to_come_back_to(spool: Spool, identity: LogIdentity, claims: contextlib.ExitStack) -> None:
    """Where there is no spool, an empty one: whoever finds it left over finishes what a kill interrupts."""
    if not spool.path(identity).exists():
        claims.enter_context(contextlib.closing(spool.open(identity)))


def _claim_earlier(spool: Spool, identity: LogIdentity, claims: contextlib.ExitStack) -> list[LogIdentity]:
    """Earlier attempts of killed workers on this machine that nobody has finished yet belong into this log."""
    earlier = [one for one in spool.identities(identity.job_id) if one.token < identity.token]
    return [one for one in earlier if claims.enter_context(spool.claim(one))]


def _prepare_to_fit(
    store: LogStore,
    spool: Spool,
    identity: LogIdentity,
    previous: Parts,
    earlier: list[LogIdentity],
    step: Step,
    most: int,
) -> Sealed:
    """In objects of `most` bytes, or of half as many, and so on, where the store, or a proxy, refuses them."""
    while True:
        try:
            return _prepare(store, spool, identity, previous, earlier, step, most)
        except _Refused as refused:
            most = refused.size // 2
            if most < LEAST_OBJECT_BYTES:
                raise refused.failure from None


def _prepare(
    store: LogStore,
    spool: Spool,
    identity: LogIdentity,
    previous: Parts,
    earlier: list[LogIdentity],
    step: Step,
    most: int,
) -> Sealed:
    covered = covered_by(previous)
    spooled = _spooled(spool, [*earlier, identity], covered)
    step("earlier attempts claimed")
    segments = _segments(store, identity, previous, spooled)
    found = pieces(segments, spooled, covered)
    covers = covered | {piece.token: piece.end for piece in found}
    sealed = _write(store, spool, identity, _all_lines(store, previous, found), covers, most)
    step("written")
    outdated = [segment.key for segment in segments] + [part["key"] for part in previous]
    if outdated:
        spool.note_keys(identity, outdated)
    step("noted")
    return sealed


def _spooled(spool: Spool, identities: Iterable[LogIdentity], covered: Mapping[int, int]) -> dict[int, Piece]:
    """What lies in spools here and in no sealed log yet."""
    found: dict[int, Piece] = {}
    for one in identities:
        start, size = covered.get(one.token, 0), spool.size(one)
        if size > start:
            rest = spool.read(one, start=start)
            found[one.token] = Piece(one.token, start, spooled=rest, spooled_bytes=size - start)
    return found


def _segments(store: LogStore, identity: LogIdentity, previous: Parts, spooled: Mapping[int, Piece]) -> list[Segment]:
    """The job's segments. A first attempt's spool holds all there is: one request less for about half of all jobs."""
    if identity.attempt == 1 and not previous and identity.token in spooled:
        return []
    return segments_of(store, identity.job_id, identity.created_at)


def _write(
    store: LogStore, spool: Spool, identity: LogIdentity, lines: Iterator[bytes], covers: Mapping[int, int], most: int
) -> Sealed:
    building = spool.building(identity)
    parts: list[dict[str, Any]] = []
    try:
        for size, count, data in _collect(lines, building, most):
            key = identity.part_key(len(parts) + 1)
            try:
                _put(store, key, building if data is None else data)
            except ObjectTooLarge as failure:
                raise _Refused(size, failure) from failure
            parts.append({"key": key, "bytes": size, "lines": count})
    finally:  # a log that cannot be sealed yet must not take its room twice
        building.unlink(missing_ok=True)
    if not parts:
        return Sealed([], 0, 0)
    parts[-1]["covers"] = {str(token): end for token, end in sorted(covers.items())}
    return Sealed(parts, sum(part["bytes"] for part in parts), sum(part["lines"] for part in parts))


def _put(store: LogStore, key: str, content: bytes | Path) -> None:
    if isinstance(content, Path):
        store.put_file(key, content)
    else:
        store.put(key, content)


class _Refused(Exception):
    """The store takes no object of so many bytes."""

    def __init__(self, size: int, failure: ObjectTooLarge) -> None:
        super().__init__(str(failure))
        self.size = size
        self.failure = failure


def _all_lines(store: LogStore, previous: Parts, found: Iterable[Piece]) -> Iterator[bytes]:
    for part in previous:
        try:
            yield from lines_of_parts(store, [part])
        except NotFound:  # past its retention, or in the folder of another machine
            yield marker("lines missing", at=None, bytes=part.get("bytes", 0))
    for piece in found:
        yield from lines_of_piece(store, piece)


def _collect(lines: Iterable[bytes], building: Path, most: int) -> Iterator[tuple[int, int, bytes | None]]:
    """Object after object of at most `most` bytes: bytes, lines, and the content while it is small.

    The content of a large one is in the file until the next object is asked for; it is never whole in memory.
    """
    kept: list[bytes] = []
    size = count = kept_bytes = 0
    building.unlink(missing_ok=True)
    for line in lines:
        if count and size + len(line) > most:
            yield _object(building, kept, size, count, kept_bytes)
            building.unlink(missing_ok=True)
            kept, size, count, kept_bytes = [], 0, 0, 0
        size, count, kept_bytes = size + len(line), count + 1, kept_bytes + len(line)
        kept.append(line)
        if kept_bytes > IN_MEMORY_BYTES:
            _append(building, kept)
            kept, kept_bytes = [], 0
    if count:
        yield _object(building, kept, size, count, kept_bytes)


def _object(building: Path, kept: list[bytes], size: int, count: int, kept_bytes: int) -> tuple[int, int, bytes | None]:
    if size == kept_bytes:
        return size, count, b"".join(kept)
    _append(building, kept)
    return size, count, None


def _append(building: Path, lines: list[bytes]) -> None:
    building.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with building.open("ab") as file:
        file.writelines(lines)


def _clear(store: LogStore, spool: Spool, identity: LogIdentity, step: Step) -> None:
    """Delete what the sealed log has taken in. The spool goes last: while it is there, somebody comes back to this."""
    with local_failures("clearing up after sealing a log"):
        store.delete(key for key in spool.noted_keys(identity) if not is_sealed_by([{"key": key}], identity.token))
        step("cleared")
        spool.remove(identity)
        step("removed")


def _withdraw(store: LogStore, spool: Spool, identity: LogIdentity, sealed: Sealed) -> None:
    """A newer attempt owns the job: what we have written goes, what we have read stays."""
    store.delete(part["key"] for part in sealed.parts)
    with local_failures("withdrawing a log"):
        spool.building(identity).unlink(missing_ok=True)
        if not _has_lines(spool.path(identity)):
            spool.remove(identity)


def _known(parts: Parts) -> Sealed:
    return Sealed(
        [dict(part) for part in parts],
        sum(part.get("bytes", 0) for part in parts),
        sum(part.get("lines", 0) for part in parts),
    )


def _has_lines(path: Path) -> bool:
    """Whether a spool holds anything; only then is it more than its segments."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False
