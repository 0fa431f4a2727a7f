"""Files from the network, taken only when they are the pinned ones.

https alone (http to this machine, for tests); every redirect is looked at; what comes is written beside, counted, and
gets its name when its SHA-256 is the one in the recipe. A connection that breaks leaves a part, from which the next
call goes on.
"""

import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from codecsep.data import atomic
from codecsep.data.digest import file_sha256
from codecsep.data.lock import locked
from codecsep.errors import CodecsepError

BLOCK = 1 << 20
TIMEOUT = 60.0  # s without a byte
THIS_MACHINE = ("localhost", "127.0.0.1", "::1")
AGAIN = "run the same command again; it goes on where it stopped"


class FetchError(CodecsepError):
    """A file that cannot be had, or is not the one that was pinned."""


def fetch(url: str, path: Path, sha256: str, max_bytes: int, timeout: float = TIMEOUT) -> Path:
    """Make `path` the file with this SHA-256 (64 hex digits) from `url`; nothing is done when it is that already.

    max_bytes: more are never written. Raises FetchError; `path` then is as it was.
    """
    path = Path(path)
    if path.is_file() and file_sha256(path) == sha256:
        return path
    _check_address(url)
    with locked(path.parent, f".{path.name}.lock"):
        part = path.with_name(f".{path.name}.part")
        _receive(url, part, max_bytes, timeout)
        found = file_sha256(part)
        if found != sha256:
            what = f"came with the SHA-256 {found}, pinned is {sha256}{_looks_like(part)}"
            part.unlink()
            raise FetchError("E706", what, url, "the server has another file: get the pinned version elsewhere")
        atomic.force(part)
        os.replace(part, path)
    return path


def _receive(url: str, part: Path, max_bytes: int, timeout: float) -> None:
    """Append to `part` what is missing of it, or start anew where the server does not continue."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with _opener().open(request, timeout=timeout) as answer, atomic.disk_full_is_named(part):
            continues = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            with open(part, "ab" if continues else "wb") as out:
                _copy(answer, out, url, max_bytes)
    except urllib.error.HTTPError as error:
        part.unlink(missing_ok=True)  # 416: the part is longer than the file
        raise FetchError("E706", f"the server says {error.code} {error.reason}", url, "check the address") from error
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError("E706", f"cannot be fetched ({reason})", url, f"check the network, then {AGAIN}") from error


def _copy(answer: http.client.HTTPResponse, out: BinaryIO, url: str, max_bytes: int) -> None:
    """All that comes, up to `max_bytes`. Raises FetchError when it is more, or less than was announced."""
    expected = answer.headers.get("Content-Length", "")
    received = 0
    while block := answer.read(BLOCK):
        received += len(block)
        if out.tell() + len(block) > max_bytes:
            out.truncate(0)
            raise FetchError(
                "E706", f"sends more than the {max_bytes:,} bytes it should", url, "do not use this address"
            )
        out.write(block)
    if expected.isdigit() and received < int(expected):
        raise FetchError("E706", f"broke off after {received:,} of {int(expected):,} bytes", url, AGAIN)


def _opener() -> urllib.request.OpenerDirector:
    """http and https only, through the user's proxy: no file:, ftp: or data:, not even after a redirect."""
    opener = urllib.request.OpenerDirector()
    handlers = (urllib.request.ProxyHandler, urllib.request.HTTPHandler, urllib.request.HTTPSHandler, _CheckedRedirect)
    for handler in (*handlers, urllib.request.HTTPDefaultErrorHandler, urllib.request.HTTPErrorProcessor):
        opener.add_handler(handler())
    return opener


class _CheckedRedirect(urllib.request.HTTPRedirectHandler):
    """Where a server sends us must be an address that we would have taken from a recipe."""

    def redirect_request(self, request, file, code, message, headers, address):
        _check_address(address)
        if urlsplit(request.full_url).scheme == "https" and urlsplit(address).scheme != "https":
            raise FetchError("E706", "redirects from https to http", address, "do not use this address")
        return super().redirect_request(request, file, code, message, headers, address)


def _check_address(url: str) -> None:
    """Raise FetchError unless this is https, or http to this machine."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme == "https" and parts.hostname
        is_good = is_good or (parts.scheme == "http" and parts.hostname in THIS_MACHINE)
    except ValueError:
        is_good = False
    if not is_good or not url.isprintable() or " " in url:
        raise FetchError("E706", "is not an https address", url, "give an address that begins with https://")


def _looks_like(part: Path) -> str:
    with open(part, "rb") as file:
        is_page = file.read(200).lstrip()[:1] == b"<"
    return "; it is a web page" if is_page else ""
