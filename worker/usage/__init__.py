"""Tokens, keys, credits, quotas: who has used how much."""
