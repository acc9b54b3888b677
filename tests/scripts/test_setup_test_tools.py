"""scripts/setup-test-tools: installs quietly where it may, starts no service, and never stands in the way."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts/setup-test-tools"
SENTENCE = "install them (Debian, Ubuntu: apt-get install pgbouncer prometheus universal-ctags tini)\n"
# Stands for root: runs what it is given, with the guard where the test can look at it.
SUDO = """#!/bin/sh
[ "$2" = true ] && exit {may}
shift
[ "$1" = sh ] && shift
sed 's#/usr/sbin/policy-rc.d#{policy}#' | sh "$@"
"""
APT_GET = """#!/bin/sh
case "$*" in
    *update*) touch {lists} ;;
    *install*)
        echo "$*" >>{record}
        [ -e {lists} ] || exit 100
        {policy} pgbouncer start
        echo "policy $?" >>{record}
        for tool in {pgbouncer} {promtool} {ctags} {tini}; do touch $tool && chmod +x $tool; done ;;
esac
echo noise
echo noise >&2
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A Debian without any of them, used by somebody whose sudo asks no password; the folder that is its PATH."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "chmod", "rm", "sed", "sh", "touch"):
        (tools / name).symlink_to(str(shutil.which(name)))
    places = {name: tmp_path / name for name in ("policy", "lists", "record")}
    places |= {name: tools / name for name in ("pgbouncer", "promtool", "ctags", "tini")}
    program(tools / "id", "#!/bin/sh\necho 1000\n")
    program(tools / "sudo", SUDO.format(may=0, **places))
    program(tools / "apt-get", APT_GET.format(**places))
    (tools / "swift/bin").mkdir(parents=True)
    program(tools / "swift/bin/swift-proxy-server", "#!/bin/sh\n")
    return tools


def program(path: Path, text: str) -> None:
    """Put a program there."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


def run(machine: Path, *arguments: str, swift: Path | None = None) -> str:
    """Run the script to its good end; everything it said."""
    env = {"PATH": str(machine), "SWIFT_VENV": str(swift or machine / "swift")}
    done = subprocess.run([SCRIPT, *arguments], env=env, capture_output=True, text=True, check=True)
    return done.stdout + done.stderr


def test_it_installs_silently_once_and_starts_nothing(machine: Path, tmp_path: Path) -> None:
    """The package lists are fetched when they are missing; starting services is forbidden only meanwhile."""
    assert run(machine) == ""
    first, second, policy = (tmp_path / "record").read_text().splitlines()
    assert first == second
    assert "--no-install-recommends pgbouncer prometheus universal-ctags tini" in first
    assert policy == "policy 101"
    assert not (tmp_path / "policy").exists()
    assert run(machine) == ""
    assert len((tmp_path / "record").read_text().splitlines()) == 3


def test_only_what_is_missing_is_installed(machine: Path, tmp_path: Path) -> None:
    """A program that is there already stays as it is."""
    program(machine / "pgbouncer", "#!/bin/sh\n")
    assert run(machine) == ""
    first = (tmp_path / "record").read_text().splitlines()[0]
    assert first.endswith("--no-install-recommends prometheus universal-ctags tini")


def test_a_policy_of_the_machines_own_stays(machine: Path, tmp_path: Path) -> None:
    """Containers have one already; it decides, and is there afterwards."""
    program(tmp_path / "policy", "#!/bin/sh\nexit 42\n")
    assert run(machine) == ""
    assert (tmp_path / "record").read_text().endswith("policy 42\n")
    assert (tmp_path / "policy").exists()


@pytest.mark.parametrize("missing", ["apt-get", "sudo", "the right to use sudo", "a network"])
def test_where_it_cannot_it_says_what_to_install_and_succeeds(machine: Path, tmp_path: Path, missing: str) -> None:
    """One sentence, and everything after it still runs."""
    if missing == "the right to use sudo":
        program(machine / "sudo", SUDO.format(may=1, policy=tmp_path / "policy"))
    elif missing == "a network":
        program(machine / "apt-get", "#!/bin/sh\necho noise >&2\nexit 100\n")
    else:
        (machine / missing).unlink()
    said = run(machine)
    assert said.endswith(SENTENCE)
    assert len(said.splitlines()) == 1
    assert not (tmp_path / "policy").exists()


def test_ceph_is_installed_only_on_demand(machine: Path, tmp_path: Path) -> None:
    """The slow tests' S3 server is large: who wants it says so."""
    run(machine, "--all")
    wanted = "pgbouncer prometheus universal-ctags tini radosgw ceph-mon ceph-osd ceph-common"
    assert (tmp_path / "record").read_text().splitlines()[0].endswith(f"--no-install-recommends {wanted}")


def test_without_swift_it_says_so_and_succeeds(machine: Path, tmp_path: Path) -> None:
    """A package index that does not answer stops nothing else."""
    (tmp_path / "file").touch()
    assert "OpenStack Swift could not be installed" in run(machine, swift=tmp_path / "file/swift")
    assert (tmp_path / "record").exists()
