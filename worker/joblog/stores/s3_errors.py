"""What the S3 client raises, as the errors that callers of a log store know."""

import contextlib
import ssl
from collections.abc import Iterator

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from worker.errors import LogStoreError, NotFound, SpoolError
from worker.joblog.stores.refusals import refused, unreachable

_KEYS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_ADDRESS = "AWS_ENDPOINT_URL and AWS_REGION"
# An answer of 400 lasts, but for these: the upload did not arrive as it was sent.
_PASSING = {"RequestTimeout", "IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"}
# What else 403 may mean, where a code is given.
_BETTER_HINTS = {
    "InvalidAccessKeyId": "The store does not know the key in AWS_ACCESS_KEY_ID.",
    "SignatureDoesNotMatch": "The secret does not fit the key: check AWS_SECRET_ACCESS_KEY, and AWS_REGION.",
    "RequestTimeTooSkewed": "This machine's clock is wrong: set it.",
}
# Errors within an answer of 200 have a code only.
_STATUS = {"AccessDenied": 403, "InternalError": 500, "ServiceUnavailable": 503, "SlowDown": 503, "NoSuchBucket": 404}
_NO_ANSWER = (
    boto.ConnectionError,
    boto.HTTPClientError,
    boto.IncompleteReadError,
    ResponseParserError,  # a page of a gateway instead of the store's answer
    HTTPError,
)


@contextlib.contextmanager
def failures(doing: str, permission: str, *, missing: str | None = None) -> Iterator[None]:
    """Raise what the client raises as a LogStoreError, with the `permission` to give where one is missing.

    Where `missing` is given, a 404 is NotFound with this sentence, unless it is the bucket that is missing.
    """
    try:
        yield
    except boto.ClientError as failure:
        code = _code(failure)
        if missing is not None and status_of(failure) == 404 and code != "NoSuchBucket":
            raise NotFound(missing) from None
        raise _refused(doing, failure, permission) from failure
    except _NO_ANSWER as failure:
        raise _unreachable(doing, failure) from failure
    except boto.BotoCoreError as failure:
        raise LogStoreError(
            f"The log store cannot be asked at {doing}: {failure}", retryable=False, hint=f"Check {_KEYS}, {_ADDRESS}."
        ) from failure
    except OSError as failure:
        raise SpoolError(f"The spool's disk failed at {doing}: {failure.strerror or failure}.") from failure


def status_of(failure: boto.ClientError) -> int:
    """The HTTP status, which all stores set; codes are empty with some."""
    status = failure.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status if status else _STATUS.get(_code(failure), 400)


def _code(failure: boto.ClientError) -> str:
    return failure.response.get("Error", {}).get("Code", "")


def _refused(doing: str, failure: boto.ClientError, permission: str) -> LogStoreError:
    error = failure.response.get("Error", {})
    return refused(
        doing,
        status=status_of(failure),
        reason=": ".join(filter(None, [_code(failure), error.get("Message")])) or "(no reason given)",
        keys=_KEYS,
        address=_ADDRESS,
        permission=permission,
        passing=_code(failure) in _PASSING,
        hint=_BETTER_HINTS.get(_code(failure)),
    )


def _unreachable(doing: str, failure: Exception) -> LogStoreError:
    if _is_certificate(failure):
        return LogStoreError(
            f"The log store's certificate is not trusted at {doing}: {failure}.",
            retryable=False,
            hint="Check AWS_ENDPOINT_URL; AWS_CA_BUNDLE names a file of authorities to trust.",
        )
    return unreachable(doing, str(failure).rstrip("."), address=_ADDRESS)


def _is_certificate(failure: object) -> bool:
    """Whether TLS ended for a reason that no retry changes; the SDK wraps it twice."""
    while isinstance(failure, BaseException):
        if isinstance(failure, ssl.SSLCertVerificationError):
            return True
        within = getattr(failure, "kwargs", {}).get("error")
        failure = within or (failure.args[0] if failure.args else None)
    return False
