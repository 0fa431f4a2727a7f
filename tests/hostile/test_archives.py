"""X5: archives that climb out, link, collide or lie about their size; one member that a tool takes out of a package."""

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from codecsep.data.unpack import ArchiveError, Limits, read_member, unpack

LIMITS = Limits(members=1000, total_bytes=1 << 20)


def tar(path: Path, *entries: tuple, mode: str = "w:gz", form: int = tarfile.PAX_FORMAT) -> Path:
    """entries: (name, content or None, type, target of a link)."""
    with tarfile.open(path, mode, format=form) as archive:
        for name, content, kind, target in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, target, len(content or b"")
            archive.addfile(info, io.BytesIO(content) if content is not None else None)
    return path


def regular(name: str, content: bytes = b"x") -> tuple:
    return name, content, tarfile.REGTYPE, ""


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tuple:
    return name, None, kind, target


TARS = {
    "climbs": [regular("../outside/canary")],
    "climbs in the middle": [regular("a/../../outside/canary")],
    "absolute": [regular("{}")],
    "backslashes": [regular("..\\outside\\canary")],
    "symbolic link": [link("a", "../outside")],
    "symbolic link, then through it": [link("a", "../outside"), regular("a/canary")],
    "symbolic link to inside": [regular("b"), link("a", "b")],
    "hard link": [link("a", "../outside/canary", tarfile.LNKTYPE)],
    "hard link to inside": [regular("b"), link("a", "b", tarfile.LNKTYPE)],
    "device": [link("a", "", tarfile.CHRTYPE)],
    "block device": [link("a", "", tarfile.BLKTYPE)],
    "named pipe": [link("a", "", tarfile.FIFOTYPE)],
    "same name": [regular("a"), regular("a", b"y")],
    "upper and lower case": [regular("Data/a"), regular("data/A")],
    "composed and not": [regular("\u00e9"), regular("e\u0301")],
    "file and folder": [regular("a"), regular("a/b")],
    "folder and file": [regular("a/b"), regular("A")],
    "escape sequence": [regular("a\x1b[2J")],
    "line break": [regular("a\nb |")],
    "long name": [regular("a" * 256)],
    "many": [regular(f"f{number}", b"") for number in range(1001)],
    "large": [regular("a", bytes((1 << 20) + 1))],
    "large together": [regular("a", bytes(1 << 19)), regular("b", bytes(1 << 19)), regular("c")],
}


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT], ids=["pax", "gnu"])
@pytest.mark.parametrize("name", TARS)
def test_tar(tmp_path, canary, name, form):
    entries = [(entry[0].format(canary) if entry[0] == "{}" else entry[0], *entry[1:]) for entry in TARS[name]]
    archive = tar(tmp_path / "a.tar.gz", regular("good", b"good"), *entries, form=form)
    with pytest.raises(ArchiveError, match=r"^E705 .*a\.tar\.gz: holds .*\(fix: ") as caught:
        unpack(archive, tmp_path / "new", LIMITS)
    assert str(caught.value).isprintable()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "outside"]


def test_a_refused_archive_leaves_the_old_folder(tmp_path, canary):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "kept").write_text("kept")
    archive = tar(tmp_path / "a.tar.gz", regular("good"), regular("../outside/canary"))
    with pytest.raises(ArchiveError):
        unpack(archive, tmp_path / "old", LIMITS)
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["kept"]


def test_a_header_as_large_as_memory(tmp_path, canary):
    """A pax header is read at once: gzip makes 4 GiB of it out of 4 MiB."""
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.XHDTYPE, 1 << 32
    (tmp_path / "a.tar").write_bytes(info.tobuf(tarfile.USTAR_FORMAT) + bytes(4096))
    with pytest.raises(ArchiveError, match="^E705 .*damaged .*a header of 4294967296 bytes"):
        unpack(tmp_path / "a.tar", tmp_path / "new", LIMITS)


def make_zip(path: Path, *entries: tuple[str, bytes], attributes: int = 0) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = attributes << 16, zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("entries", "attributes"),
    [
        ([("../outside/canary", b"x")], 0),
        ([("/etc/canary", b"x")], 0),
        ([("a\\..\\..\\outside\\canary", b"x")], 0),
        ([("a", b"../outside")], 0o120777),
        ([("a", b"")], 0o020666),
        ([("a", b"1"), ("A", b"2")], 0),
        ([("bomb", bytes(1 << 21))], 0),
        ([(f"f{number}", b"") for number in range(1001)], 0),
    ],
    ids=["climbs", "absolute", "backslashes", "link", "device", "case", "bomb", "many"],
)
def test_zip(tmp_path, canary, entries, attributes):
    archive = make_zip(tmp_path / "a.zip", ("good", b"good"), *entries, attributes=attributes)
    with pytest.raises(ArchiveError, match=r"^E705 .*a\.zip: holds "):
        unpack(archive, tmp_path / "new", LIMITS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "outside"]


def test_a_zip_that_lies_about_its_size(tmp_path, canary):
    """Declared 10 bytes, unpacks to 1 MiB: neither more than declared is written, nor less is taken."""
    archive = make_zip(tmp_path / "a.zip", ("a", bytes(1 << 19)))
    raw = archive.read_bytes().replace(struct.pack("<I", 1 << 19), struct.pack("<I", 10))
    archive.write_bytes(raw)
    with pytest.raises(ArchiveError, match="^E705 "):
        unpack(archive, tmp_path / "new", LIMITS)
    assert not (tmp_path / "new").exists()


def deb(path: Path, data: bytes, name: bytes = b"data.tar.gz") -> Path:
    def entry(name: bytes, content: bytes) -> bytes:
        head = (
            name.ljust(16)
            + b"0".ljust(12)
            + b"0".ljust(6) * 2
            + b"100644".ljust(8)
            + str(len(content)).encode().ljust(10)
        )
        return head + b"`\n" + content + b"\n" * (len(content) % 2)

    path.write_bytes(
        b"!<arch>\n" + entry(b"debian-binary", b"2.0\n") + entry(b"control.tar.gz", b"xyz") + entry(name, data)
    )
    return path


def test_deb(tmp_path, canary):
    good = tar(tmp_path / "data.tar.xz", regular("./usr/share/a.txt", b"text"), mode="w:xz")
    package = deb(tmp_path / "a.deb", good.read_bytes(), b"data.tar.xz")
    assert unpack(package, tmp_path / "new", LIMITS) == 1
    assert (tmp_path / "new/usr/share/a.txt").read_bytes() == b"text"
    evil = tar(tmp_path / "evil.tar.gz", link("a", "../outside"), regular("a/canary"))
    with pytest.raises(ArchiveError, match="^E705 .*symbolic link"):
        unpack(deb(tmp_path / "b.deb", evil.read_bytes()), tmp_path / "new", LIMITS)
    whole = package.read_bytes()
    for length in (10, 60, 100, 150, len(whole) // 2, len(whole) - 30):
        package.write_bytes(whole[:length])
        with pytest.raises(ArchiveError, match="^E705 "):
            unpack(package, tmp_path / "new", LIMITS)
    assert (tmp_path / "new/usr/share/a.txt").read_bytes() == b"text", "what was there stays"


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_damaged_archives_of_every_compression(tmp_path, canary, mode):
    archive = tar(tmp_path / "a.tar", *(regular(f"f{n}", bytes([n]) * 3000) for n in range(20)), mode=mode)
    whole = archive.read_bytes()
    assert unpack(archive, tmp_path / "new", LIMITS) == 20
    for length in (0, 1, 100, len(whole) // 3, 2 * len(whole) // 3):
        archive.write_bytes(whole[:length])
        with pytest.raises(ArchiveError, match="^E705 "):
            unpack(archive, tmp_path / "other", LIMITS)
    for content in (b"<html>404</html>", bytes(5000), b"PK\3\4" + bytes(50), b"!<arch>\n" + bytes(100)):
        archive.write_bytes(content)
        with pytest.raises(ArchiveError, match="^E705 "):
            unpack(archive, tmp_path / "other", LIMITS)
    assert not (tmp_path / "other").exists()


def test_only_what_is_wanted_is_looked_at(tmp_path, canary):
    """Documentation in a package may hold links; the sounds may not."""
    entries = [link("usr/doc/a", "b"), regular("usr/sounds/a.wav", b"1"), regular("../x")]
    archive = tar(tmp_path / "a.tar.gz", *entries)
    assert unpack(archive, tmp_path / "new", LIMITS, lambda name: name.startswith("usr/sounds/")) == 1
    assert [path.name for path in (tmp_path / "new").rglob("*.wav")] == ["a.wav"]


def test_one_member_of_a_wheel_or_source_archive(tmp_path, canary):
    archive = tar(tmp_path / "a.tar.gz", regular("top/x"), regular("top/w.pt", b"weights"), link("top/evil.pt", "../x"))
    assert read_member(archive, lambda name: name == "top/w.pt", 100) == b"weights"
    with pytest.raises(ArchiveError, match="^E705 .*more than the 6 bytes"):
        read_member(archive, lambda name: name == "top/w.pt", 6)
    with pytest.raises(ArchiveError, match="^E705 .*symbolic link"):
        read_member(archive, lambda name: name == "top/evil.pt", 100)
    with pytest.raises(ArchiveError, match="^E705 .*does not hold the file"):
        read_member(archive, lambda name: name == "top/none.pt", 100)
