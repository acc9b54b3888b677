"""From a git push to searchable code in your own Postgres."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("indexing-worker")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"
