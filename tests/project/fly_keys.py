"""The keys that fly.toml may have, as flyctl reads them (its strict validation, November 2026)."""

from collections.abc import Iterator
from typing import Any

_VM = "size memory memory_mb cpu_kind cpus gpus gpu_kind kernel_args host_dedication_id persist_rootfs processes"
_CHECK = "interval timeout grace_period method path protocol tls_skip_verify tls_server_name headers"
_KEYS: dict[str, str] = {
    "": "app primary_region kill_signal kill_timeout swap_size_mb console_command experimental build deploy env"
    " processes mounts http_service services checks files host_dedication_id machine_config container machine_checks"
    " restart vm statics metrics",
    "build": "builder args buildpacks image settings builtin dockerfile ignorefile build-target compose compression"
    " compression_level",
    "deploy": "strategy max_unavailable wait_timeout release_command release_command_timeout release_command_vm"
    " seed_command",
    "deploy.release_command_vm": _VM,
    "mounts": "source destination initial_size snapshot_retention scheduled_snapshots auto_extend_size_threshold"
    " auto_extend_size_increment auto_extend_size_limit processes",
    "http_service": "internal_port force_https auto_stop_machines auto_start_machines min_machines_running processes"
    " concurrency tls_options http_options checks machine_checks",
    "http_service.concurrency": "type hard_limit soft_limit",
    "http_service.checks": _CHECK,
    "checks.*": f"port type processes {_CHECK}",
    "restart": "policy retries processes",
    "vm": _VM,
    "metrics": "port path https processes",
}
_FREE = {"env", "processes"}
"""Sections whose keys are the user's own."""


def unknown_keys(config: dict[str, Any]) -> list[str]:
    """Every key of this fly.toml that flyctl would not read, as section.key."""
    return list(_unknown(config, ""))


def _unknown(section: Any, name: str) -> Iterator[str]:
    for table in section if isinstance(section, list) else [section]:
        for key, value in table.items():
            place = f"{name}.{key}".lstrip(".")
            if name == "checks":
                yield from _unknown(value, "checks.*")
            elif key not in _KEYS[name].split():
                yield place
            elif place in _KEYS or place == "checks":
                yield from _unknown(value, place)
            elif isinstance(value, dict) and place not in _FREE:
                yield f"{place} (a table this test does not know)"
