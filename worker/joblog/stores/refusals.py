"""What a store's answer means for its caller: later again, or what a person has to change first."""

from worker.errors import LogStoreError, ObjectTooLarge

# 408 timeout, 409 a conflict with another request, 425 too early, 429 too many: they pass.
_PASSING = {408, 409, 425, 429}
_LASTING_5XX = {501, 505}  # the store cannot do this at all

_WHAT_TO_DO = {
    401: "The store does not know this key: check {keys}.",
    402: "The account is over its quota or unpaid: settle that with the provider. Logs wait in the spool meanwhile.",
    403: "The key in {keys} may not do this: allow it {permission}.",
    404: "Create the bucket, or correct WORKER_LOG_BUCKET.",
    411: "Something between here and the store drops Content-Length: check {address} and the proxy behind it.",
    413: "The store takes no object of this size: raise the size limit of the bucket.",
}


def refused(
    doing: str,
    *,
    status: int,
    reason: str,
    keys: str,
    address: str,
    permission: str,
    passing: bool = False,
    hint: str | None = None,
) -> LogStoreError:
    """The error for an HTTP status other than success, told by status: stores leave error codes empty.

    `keys` and `address` are the settings to look at, `permission` what the key needs for this; `passing` and `hint`
    are given where the caller knows better than the status.
    """
    later = passing or status in _PASSING or (status >= 500 and status not in _LASTING_5XX)
    advice = None if later else _WHAT_TO_DO.get(status, "Check {address}, {keys} and WORKER_LOG_BUCKET.")
    hint = hint or (advice and advice.format(keys=keys, address=address, permission=permission))
    kind = ObjectTooLarge if status == 413 else LogStoreError
    return kind(f"The log store failed at {doing}: {status} {reason.rstrip('.')}.", retryable=later, hint=hint)


def unreachable(doing: str, reason: str, *, address: str) -> LogStoreError:
    """The error for an answer that never came: refused, cut or late."""
    return LogStoreError(
        f"The log store failed at {doing}: {reason}.",
        retryable=True,
        hint=f"Check {address}, if it lasts; logs wait in the spool meanwhile.",
    )
