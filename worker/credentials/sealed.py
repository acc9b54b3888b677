"""Secrets kept in the database: AES-256-GCM under a key derived from a master key, bound to the row they belong to."""

import base64
import binascii
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from worker.credentials.master_keys import MasterKey, MasterKeys
from worker.errors import MasterKeyError

_VERSION = "v1"
_NONCE = 12


def seal(secret: str, keys: MasterKeys, row: str) -> str:
    """`v1.<master key id>.<base64>`; `row` names where it is kept, so that nobody can copy it to another row."""
    nonce = os.urandom(_NONCE)
    sealed = nonce + _cipher(keys.newest).encrypt(nonce, secret.encode(), row.encode())
    # The id may hold dots, base64 none: the last one parts them.
    return f"{_VERSION}.{keys.newest.id}.{base64.urlsafe_b64encode(sealed).decode()}"


def unseal(sealed: str, keys: MasterKeys, row: str) -> str:
    """What was sealed for this row; raises MasterKeyError when its key is not here, or anything was changed."""
    version, _, rest = sealed.partition(".")
    key_id, _, encoded = rest.rpartition(".")
    if version != _VERSION:
        raise MasterKeyError("The stored key has a form that this version does not know.")
    master = keys.find(key_id)
    try:
        raw = base64.urlsafe_b64decode(encoded)
        return _cipher(master).decrypt(raw[:_NONCE], raw[_NONCE:], row.encode()).decode()
    except (InvalidTag, ValueError, binascii.Error):
        raise MasterKeyError(
            f"The stored key does not open with the master key {key_id!r}.",
            hint="Store it again with `worker key set`.",
        ) from None


def _cipher(master: MasterKey) -> AESGCM:
    derived = HKDF(SHA256(), length=32, salt=None, info=b"indexing-worker|stored keys|v1").derive(
        master.secret.encode()
    )
    return AESGCM(derived)
