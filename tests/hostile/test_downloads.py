"""X6: a server on this machine that sends the wrong file, half a file, a web page, too much, or elsewhere."""

import hashlib
import http.server
import threading
import time

import pytest

from codecsep.data.fetch import FetchError, fetch

CONTENT = bytes(range(256)) * 400
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """/whole, /cut, /page, /endless, /slow, /missing, /to?<address>."""

    def do_GET(self):
        self.server.asked.append((self.path, self.headers.get("Range")))
        name, _, argument = self.path.partition("?")
        getattr(self, name[1:], self.missing)(argument)

    def reply(self, status, content, length=None, **headers):
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)

    def whole(self, _):
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        if start:
            place = {"Content_Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
            self.reply(206, CONTENT[start:], len(CONTENT) - start, **place)
        else:
            self.reply(200, CONTENT, len(CONTENT))

    def whole_without_ranges(self, _):
        self.reply(200, CONTENT, len(CONTENT))

    def cut(self, _):
        self.reply(200, CONTENT[:50_000], len(CONTENT))

    def page(self, _):
        self.reply(200, b"<html>Please log in</html>", 26)

    def endless(self, _):
        self.reply(200, b"")
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            pass

    def slow(self, _):
        self.reply(200, b"x", 1000)
        time.sleep(3)

    def to(self, address):
        self.reply(302, b"", 0, Location=address)

    def missing(self, _):
        self.reply(404, b"no", 2)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.daemon_threads = [], True
        running.url = f"http://127.0.0.1:{running.server_port}"
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def cached(tmp_path, canary):
    """A file that is there already, of another version; what fails must leave it as it is."""
    path = tmp_path / "cache" / "corpus.tar"
    path.parent.mkdir()
    path.write_bytes(b"old")
    return path


def test_the_pinned_file_is_taken_once(server, cached):
    for _ in range(2):
        assert fetch(f"{server.url}/whole", cached, SHA256, len(CONTENT)).read_bytes() == CONTENT
    assert len(server.asked) == 1
    cached.write_bytes(b"damaged later")
    fetch(f"{server.url}/whole", cached, SHA256, len(CONTENT))
    assert cached.read_bytes() == CONTENT and len(server.asked) == 2


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/page", "SHA-256 .* pinned is .*it is a web page"),
        ("/cut", r"broke off after [\d,]+ of 102,400 bytes|IncompleteRead"),
        ("/endless", "sends more than the 102,400 bytes"),
        ("/none", "the server says 404"),
        ("/slow", "timed out"),
        ("/to?file:///etc/passwd", "is not (an https address|allowed)"),
        ("/to?ftp://127.0.0.1/x", "is not an https address"),
        ("/to?http://192.0.2.1/x", "is not an https address"),
        ("/to?data:text/plain,x", "is not (an https address|allowed)"),
        ("/to?/to?file:///etc/passwd", "is not (an https address|allowed)"),
    ],
)
def test_everything_else_is_refused_and_the_cache_is_untouched(server, cached, path, said):
    with pytest.raises(FetchError, match=rf"^E706 .*{said}.*\(fix: "):
        fetch(server.url + path, cached, SHA256, len(CONTENT), timeout=1.0)
    assert cached.read_bytes() == b"old"
    left = {file.name for file in cached.parent.iterdir()} - {"corpus.tar", ".corpus.tar.lock"}
    assert left <= {".corpus.tar.part"} and all((cached.parent / name).stat().st_size <= 102_400 for name in left)


def test_a_loop_of_redirects_ends(server, cached):
    with pytest.raises(FetchError, match="^E706 "):
        fetch(f"{server.url}/to?/to?/to", cached, SHA256, 100)


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/x", "file:///etc/passwd", "ftp://a/b", "x", "https://", "http://[::1"]
)
def test_addresses_that_are_never_opened(cached, url):
    with pytest.raises(FetchError, match="^E706 .*is not an https address"):
        fetch(url, cached, SHA256, 100)


@pytest.mark.parametrize("path", ["/whole", "/whole_without_ranges"])
def test_a_broken_download_goes_on(server, cached, path):
    with pytest.raises(FetchError):
        fetch(f"{server.url}/cut", cached, SHA256, len(CONTENT))
    part = cached.with_name(".corpus.tar.part")
    assert part.read_bytes() == CONTENT[: part.stat().st_size] and part.stat().st_size == 50_000
    fetch(server.url + path, cached, SHA256, len(CONTENT))
    assert cached.read_bytes() == CONTENT and not part.exists()
    assert server.asked[-1] == (path, "bytes=50000-")


def test_a_part_of_something_else_is_not_completed_for_ever(server, cached):
    """The first call finds out and throws the part away, the second succeeds."""
    cached.with_name(".corpus.tar.part").write_bytes(b"x" * 1000)
    with pytest.raises(FetchError, match="^E706 .*SHA-256"):
        fetch(f"{server.url}/whole", cached, SHA256, len(CONTENT))
    assert fetch(f"{server.url}/whole", cached, SHA256, len(CONTENT)).read_bytes() == CONTENT
