"""The lifecycle rules of a bucket: ours beside those of others, proven by reading them back."""

from typing import Any

from botocore.exceptions import ClientError

from worker.joblog.retention import net_days
from worker.joblog.stores.s3_errors import status_of

UPLOAD_DAYS = 2  # parts of an upload that nobody finished or aborted
_OURS = "indexing-worker-"
# What stores without lifecycle rules, or without one of the actions, answer.
_UNABLE = (400, 405, 501)

Rule = dict[str, Any]


def ensure_rules(client: Any, bucket: str, days: float) -> bool:
    """Make logs expire in an existing bucket; False where the store cannot. Raises ClientError for all else.

    Rules of others stay: setting a bucket's lifecycle replaces it whole.
    """
    try:
        there = _rules(client, bucket)
    except ClientError as failure:
        if status_of(failure) in _UNABLE:
            return False
        raise
    for wanted in (_wanted(days, with_uploads=True), _wanted(days, with_uploads=False)):
        if _holds(there, wanted) or _set(client, bucket, there, wanted):
            return True
    return False


def _rules(client: Any, bucket: str) -> list[Rule]:
    try:
        return client.get_bucket_lifecycle_configuration(Bucket=bucket).get("Rules", [])
    except ClientError as failure:
        if status_of(failure) == 404:  # no rules yet
            return []
        raise


def _wanted(days: float, *, with_uploads: bool) -> list[Rule]:
    expiry = [_rule(prefix.rstrip("/"), prefix, Expiration={"Days": after}) for prefix, after in net_days(days).items()]
    if not with_uploads:  # MinIO has no such rule, and refuses the others with it
        return expiry
    parts = {"DaysAfterInitiation": UPLOAD_DAYS}
    return [*expiry, _rule("uploads", "logs/", AbortIncompleteMultipartUpload=parts)]


def _rule(name: str, prefix: str, **action: Any) -> Rule:
    return {"ID": f"{_OURS}{name}", "Filter": {"Prefix": prefix}, "Status": "Enabled", **action}


def _set(client: Any, bucket: str, there: list[Rule], wanted: list[Rule]) -> bool:
    """Whether the store took the rules and holds them now: an answer of 200 alone proves nothing."""
    others = [rule for rule in there if not rule.get("ID", "").startswith(_OURS)]
    try:
        client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": others + wanted})
    except ClientError as failure:
        if status_of(failure) in _UNABLE:
            return False
        raise
    return _holds(_rules(client, bucket), wanted)


def _holds(rules: list[Rule], wanted: list[Rule]) -> bool:
    there = {rule.get("ID"): _meaning(rule) for rule in rules}
    return all(there.get(rule["ID"]) == _meaning(rule) for rule in wanted)


def _meaning(rule: Rule) -> tuple[Any, ...]:
    """What counts of a rule: stores answer with fields, and old forms, of their own."""
    prefix = rule.get("Filter", {}).get("Prefix") or rule.get("Prefix")
    parts = rule.get("AbortIncompleteMultipartUpload", {}).get("DaysAfterInitiation")
    return rule.get("Status"), prefix, rule.get("Expiration", {}).get("Days"), parts
