"""The URL of a repository: parsed and judged here before git sees a byte of it.

Nothing of a refused URL but its host is repeated in an error, because people paste tokens into URLs.
"""

import base64
import re
from dataclasses import dataclass, field, replace

from worker.errors import AccessDenied, UnsafeUrl
from worker.git.hosts import Host, parse_host
from worker.git.local import find_repository

_DEFAULT_PORTS = {"https": 443, "http": 80}
_LONGEST = 2_000
_GITHUB = ("github.com", "www.github.com")

_TOKEN = re.compile(r"[\x21-\x7e]{8,4096}")
_UNPRINTABLE = re.compile(r"[^\x21-\x7e]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(?!:)//(.*)", re.DOTALL)
_SCP_LIKE = re.compile(r"[\w.-]+@[\w.-]+:(?!//)")
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})+")
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_NEVER_ESCAPED = frozenset("./\\%") | frozenset(map(chr, range(0x20))) | {"\x7f"}


@dataclass(frozen=True, slots=True)
class RepositoryUrl:
    """A URL that git may be given; `url` is its one spelling, so two of one repository compare equal."""

    url: str
    scheme: str
    host: str | None
    port: int | None
    name: str
    private_hosts: bool = False  # addresses that are not public are accepted when the name is looked up
    authorization: str | None = field(default=None, repr=False, compare=False)  # a header for this host alone

    @property
    def origin(self) -> str:
        """Scheme, host and port: what a header may be sent to."""
        return "/".join(self.url.split("/", 3)[:3])

    def with_token(self, host: str, token: str) -> "RepositoryUrl":
        """The same URL, to be read with this token; raises AccessDenied for another host than the token's."""
        if self.scheme not in _DEFAULT_PORTS or self.origin != f"{self.scheme}://{host.lower()}":
            raise AccessDenied(f"The token is for {host}, not for {self.host or 'a repository of this machine'}.")
        if not _TOKEN.fullmatch(token):
            raise AccessDenied(f"The token for {host} has characters that no token has.")
        # The form that GitHub, GitLab, Gitea and Bitbucket all take over HTTP; the user's name is anything but empty.
        basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
        return replace(self, authorization=f"Authorization: Basic {basic}")


def parse_repository_url(text: str, *, allow_local: bool = False, allow_private_hosts: bool = False) -> RepositoryUrl:
    """The repository that `text` names, or UnsafeUrl with the reason.

    Accepted is https://host[:port]/path. With `allow_private_hosts` also hosts and addresses of a private
    network, and plain http:// to this machine; with `allow_local` also file:///path and a path of this
    machine, which become the file:// URL of the repository they lie in.
    """
    if not text:
        raise UnsafeUrl("The URL is empty.")
    if len(text) > _LONGEST:
        raise UnsafeUrl(f"The URL is longer than {_LONGEST} characters.")
    if text.startswith("-"):
        raise UnsafeUrl("The URL begins with a dash, like an option.")
    parts = _SCHEME.fullmatch(text)
    scheme = parts[1].lower() if parts else None
    if parts is None and _SCP_LIKE.match(text):
        raise UnsafeUrl("That is an address of ssh; repositories are read over https only.")
    if parts is None or scheme == "file":
        return _local(text, is_url=parts is not None, allowed=allow_local)
    if scheme not in _DEFAULT_PORTS:
        raise UnsafeUrl(f"Repositories are read over https only, not over {scheme[:20] if scheme else 'this'}.")
    return _remote(scheme, parts[2], allow_private_hosts)


def _remote(scheme: str, rest: str, allow_private_hosts: bool) -> RepositoryUrl:
    if _UNPRINTABLE.search(rest):
        raise UnsafeUrl("The URL has spaces, control characters or letters outside ASCII.")
    if "?" in rest or "#" in rest:
        raise UnsafeUrl("The URL has a query or a fragment.")
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise UnsafeUrl("The URL has a user or password in it; those would end up in logs and process lists.")
    host, port = _host_and_port(authority, allow_private_hosts)
    if scheme == "http" and not (allow_private_hosts and host.is_loopback):
        raise UnsafeUrl(f"{host.name} would be read over plain http; use https.")
    return _canonical(scheme, host.name, port or _DEFAULT_PORTS[scheme], path, allow_private_hosts)


def _host_and_port(authority: str, allow_private_hosts: bool) -> tuple[Host, int | None]:
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", authority)
    if match is None:
        raise UnsafeUrl("The URL's host or port does not parse.")
    port = int(match[2]) if match[2] else None
    if port is not None and not 0 < port < 65_536:
        raise UnsafeUrl("The URL's port is not between 1 and 65535.")
    return parse_host(match[1], allow_private_hosts=allow_private_hosts), port


def _canonical(scheme: str, host: str, port: int, path: str, private_hosts: bool) -> RepositoryUrl:
    path = _checked_path(path.rstrip("/"))
    name = path.rpartition("/")[2].removesuffix(".git")
    if not name:
        raise UnsafeUrl("The URL ends without the name of a repository.")
    if host in _GITHUB and port == 443:
        # One repository there answers to each of these spellings; elsewhere `.git` and case may matter.
        host, path = "github.com", path.removesuffix(".git").lower()
    shown_host = f"[{host}]" if ":" in host else host
    shown_port = "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return RepositoryUrl(f"{scheme}://{shown_host}{shown_port}/{path}", scheme, host, port, name, private_hosts)


def _checked_path(path: str) -> str:
    if not path:
        raise UnsafeUrl("The URL names a host but no repository on it.")
    if not _PATH.fullmatch(path):
        raise UnsafeUrl("The URL's path has characters that do not belong there.")
    if any(segment in ("", ".", "..") for segment in path.split("/")):
        raise UnsafeUrl("The URL's path has empty or dot segments.")
    if any(chr(int(code, 16)) in _NEVER_ESCAPED for code in _ESCAPE.findall(path)):
        raise UnsafeUrl("The URL's path hides dots, slashes or control characters behind percent signs.")
    return _ESCAPE.sub(lambda escape: escape[0].upper(), path)


def _local(text: str, *, is_url: bool, allowed: bool) -> RepositoryUrl:
    if not allowed:
        raise UnsafeUrl("Only https:// URLs are read here.")
    found = find_repository(text, is_url=is_url)
    return RepositoryUrl(found.as_uri(), "file", None, None, found.name.removesuffix(".git") or "repository")
