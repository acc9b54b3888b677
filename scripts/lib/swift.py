"""OpenStack Swift as an S3 server on one machine: one replica, one account, four servers.

The stack runs them as four processes; the tests all in one (tests/fixtures/swift_server.py), configured here too.
"""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ACCESS_KEY, SECRET_KEY = "test:tester", "testing"
VENV = Path(os.environ.get("SWIFT_VENV") or Path(__file__).parents[2] / ".venv-swift")
PARTS = ("account", "container", "object", "proxy")

_SWIFT = """[swift-hash]
swift_hash_path_prefix = stack
swift_hash_path_suffix = stack
[storage-policy:0]
name = only
default = yes
"""
_PART = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
devices = {devices}
mount_check = false
swift_dir = {folder}
user = {user}
workers = 0
fallocate_reserve = 0
log_level = ERROR
[pipeline:main]
pipeline = {part}-server
[app:{part}-server]
use = egg:swift#{part}
"""
_PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
swift_dir = {folder}
user = {user}
workers = 0
log_level = ERROR
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats bulk s3api tempauth copy slo dlo versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{cache}
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = false
"""
_PLAIN_FILTERS = ("catch_errors", "gatekeeper", "listing_formats", "bulk", "copy", "slo", "dlo")
# Its programs look for swift.conf in /etc/swift alone.
_RUN = """
import runpy, sys
import swift.common.utils as utils, swift.common.utils.base as base, swift.common.utils.config as config
for module in (utils, base, config):
    if hasattr(module, "SWIFT_CONF_FILE"):
        module.SWIFT_CONF_FILE = sys.argv[1]
program = sys.argv[2]
sys.argv = [program, sys.argv[3]]
runpy.run_path(program, run_name="__main__")
"""


def swift_is_installed() -> bool:
    """Whether scripts/setup-test-tools has made its environment."""
    return (VENV / "bin/swift-proxy-server").exists()


def swift_commands(stack: Path, ports: Mapping[str, int]) -> dict[str, list[str]]:
    """What starts each of its servers, by name; writes their configuration when they are installed."""
    folder, venv = stack / "swift" / "etc", VENV / "bin"
    if stack.exists() and swift_is_installed() and not (folder / "proxy.conf").exists():
        _configure(folder, stack / "swift" / "devices", venv, ports)
    return {
        f"swift-{part}": [
            str(word) for word in (venv / "python", "-c", _RUN, folder / "swift.conf", venv / f"swift-{part}-server")
        ]
        + [str(folder / f"{part}.conf")]
        for part in PARTS
    }


def write_configuration(folder: Path, devices: Path, ports: Mapping[str, int], *, cache: int) -> None:
    """Write swift.conf and a file for each of PARTS, by name with its port; `cache` is memcached's, if there is one."""
    folder.mkdir(parents=True, exist_ok=True)
    (devices / "d1").mkdir(parents=True, exist_ok=True)
    (folder / "swift.conf").write_text(_SWIFT)
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or "root"
    for part in PARTS[:3]:
        facts = {"port": ports[part], "devices": devices, "folder": folder, "user": user, "part": part}
        (folder / f"{part}.conf").write_text(_PART.format(**facts))
    proxy = _PROXY.format(port=ports["proxy"], folder=folder, user=user, cache=cache)
    plain = "".join(f"[filter:{name}]\nuse = egg:swift#{name}\n" for name in _PLAIN_FILTERS)
    (folder / "proxy.conf").write_text(proxy + plain)


def _configure(folder: Path, devices: Path, venv: Path, ports: Mapping[str, int]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS[:3]:
        port = ports[f"swift-{part}"]
        for step in (["create", "4", "1", "1"], ["add", f"r1z1-127.0.0.1:{port}/d1", "1"], ["rebalance"]):
            subprocess.run(
                [venv / "swift-ring-builder", f"{part}.builder", *step],
                cwd=folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                check=False,
            )  # fmt: skip  (rebalance ends with 1 when it warns)
    # Last: proxy.conf says that all of it is there.
    write_configuration(folder, devices, {part: ports[f"swift-{part}"] for part in PARTS}, cache=ports["swift-cache"])
