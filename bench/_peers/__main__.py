"""The child's side: `PEER drain|pickup|enqueue --url URL --jobs N`, run by the peers' Python, prints one JSON line."""

import argparse
import importlib
import json
from typing import Any

import uvloop

from bench._peers import PEERS


def main() -> None:
    """Run one measurement of one peer, on uvloop: both peers are faster with it."""
    parser = argparse.ArgumentParser(prog="bench._peers", description=__doc__)
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("what", choices=["drain", "pickup", "enqueue"])
    parser.add_argument("--url", required=True)
    parser.add_argument("--jobs", type=int, required=True)
    given = parser.parse_args()
    print(json.dumps({"peer": given.peer, "jobs": given.jobs, given.what: measured(**vars(given))}))


def measured(peer: str, what: str, url: str, jobs: int) -> Any:
    """The figure itself: drain and pickup are coroutines, enqueue is the producer that a pickup starts."""
    driver = importlib.import_module(f"bench._peers.with_{peer}")
    if what == "enqueue":
        return driver.enqueue(url, jobs)
    return uvloop.run(getattr(driver, what)(url, jobs))


if __name__ == "__main__":
    main()
