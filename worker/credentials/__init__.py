"""Credentials: the master keys, tokens kept encrypted, and which token may read which repository."""
