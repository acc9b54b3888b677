"""What chaos tests share."""

from tests.fixtures.load import load, stop_all

__all__ = ["load", "stop_all"]
