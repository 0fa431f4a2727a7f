"""Archives of others, unpacked member by member: ordinary files and folders only, and never more than was promised.

No links of any kind (what a link points to is decided when it is followed, not when it is checked), no devices, no
absolute or climbing names, no two names that a file system may take for the same. The folder appears whole or not at
all.
"""

import io
import lzma
import re
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from codecsep.data import atomic
from codecsep.errors import CodecsepError

BLOCK = 1 << 20
AR_MAGIC, AR_HEADER = b"!<arch>\n", 60
MAX_EXTRA_HEADER = 1 << 20  # bytes of a long name or of pax fields, which tarfile reads at once
DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    EOFError,
    ValueError,
    OSError,
    RuntimeError,
    lzma.LZMAError,
    zlib.error,
)
FIX = "do not use this archive; fetch it again from where you trust it"
Wanted = Callable[[str], bool]


class ArchiveError(CodecsepError):
    """An archive that is damaged, or holds what no data set needs."""


@dataclass(frozen=True)
class Limits:
    """What may come out of an archive: files and folders, and bytes in all."""

    members: int = 200_000
    total_bytes: int = 1 << 40


@dataclass(frozen=True)
class Member:
    """One entry. kind: "file", "folder", or what it is instead. size: bytes as declared."""

    name: str
    kind: str
    size: int
    open: Callable[[], BinaryIO]


def unpack(archive: Path, folder: Path, limits: Limits, wanted: Wanted = lambda name: True) -> int:
    """Unpack a tar (of any compression), zip, wheel or deb into the new or replaced `folder`; the number of files.

    wanted: which members to take, by their names without "./"; the others are not looked at.
    Raises ArchiveError; then `folder` is as it was.
    """
    archive, count = Path(archive), 0
    with members(archive) as entries, atomic.replacing_dir(folder) as beside:
        for member in _checked(archive, entries, limits, wanted):
            target = beside / member.name
            if member.kind == "folder":
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(archive, member, target)
            count += 1
        if not count:
            raise ArchiveError("E705", "holds no file that is wanted", archive, FIX)
    return count


def read_member(archive: Path, wanted: Wanted, max_bytes: int) -> bytes:
    """The content of the first ordinary file whose name is wanted. Raises ArchiveError, also when there is none."""
    archive = Path(archive)
    with members(archive) as entries:
        for member in _checked(archive, entries, Limits(total_bytes=max_bytes), wanted):
            if member.kind == "file":
                with member.open() as file:
                    return file.read(member.size)
    raise ArchiveError("E705", "does not hold the file that is wanted from it", archive, FIX)


@contextmanager
def members(archive: Path) -> Iterator[Iterator[Member]]:
    """The entries of an archive, kind by content and not by name. Raises ArchiveError when it is none, or damaged."""
    try:
        with open(archive, "rb") as file:
            magic = file.read(8)
            file.seek(0)
            if magic == AR_MAGIC:
                file = _data_of_deb(file, archive)
            if magic[:4] == b"PK\3\4":
                with zipfile.ZipFile(file) as opened:
                    yield _zip_members(opened)
            else:
                with tarfile.open(fileobj=file, tarinfo=_BoundedHeader) as opened:
                    yield _tar_members(opened)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ArchiveError("E705", f"is no archive, or damaged ({error})", archive, FIX) from error


class _BoundedHeader(tarfile.TarInfo):
    """An entry whose extra headers cannot fill the memory."""

    def _proc_member(self, tar: tarfile.TarFile):
        is_extra = self.type in (*tarfile.GNU_TYPES[:2], tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
        if is_extra and self.size > MAX_EXTRA_HEADER:
            raise tarfile.ReadError(f"a header of {self.size} bytes")
        return super()._proc_member(tar)


def _checked(archive: Path, entries: Iterator[Member], limits: Limits, wanted: Wanted) -> Iterator[Member]:
    """The wanted members, each with a harmless name and of a harmless kind; the limits hold for all that are listed."""
    kinds: dict[str, str] = {}
    count = total = 0
    for member in entries:
        count += 1
        if count > limits.members:
            raise ArchiveError("E705", f"holds more than {limits.members:,} members", archive, FIX)
        name = str(PurePosixPath(member.name))
        if name == "." or not wanted(name):
            continue
        _check_name(archive, member.name)
        if member.kind not in ("file", "folder"):
            what = f"holds a {member.kind}: {name[:200]!r}; only ordinary files and folders are unpacked"
            raise ArchiveError("E705", what, archive, FIX)
        total += member.size
        if total > limits.total_bytes:
            raise ArchiveError("E705", f"holds more than the {limits.total_bytes:,} bytes it should", archive, FIX)
        _check_collision(archive, name, member.kind, kinds)
        yield Member(name, member.kind, member.size, member.open)


def _check_collision(archive: Path, name: str, kind: str, kinds: dict[str, str]) -> None:
    """Refuse a name that some file system takes for one that was there before, unless both are folders.

    kinds: of the names so far, in lower case; folders that are only implied are "above".
    """
    path = PurePosixPath(unicodedata.normalize("NFC", name).casefold())
    clashes = [str(place) for place in path.parents if kinds.setdefault(str(place), "above") == "file"]
    before = kinds.get(str(path))
    if clashes or before == "file" or (kind == "file" and before):
        what = f"holds {name[:200]!r} twice (upper and lower case are the same), or below a file"
        raise ArchiveError("E705", what, archive, FIX)
    kinds[str(path)] = kind


def _check_name(archive: Path, name: str) -> None:
    path = PurePosixPath(name)
    is_outside = path.is_absolute() or ".." in path.parts or "\\" in name
    sizes = [len(part.encode(errors="replace")) for part in path.parts]
    if is_outside or not name.isprintable() or max(sizes) > 255 or sum(sizes) > 3000:
        what = f"holds the name {name[:200]!r}, which leads outside, is too long, or is not printable"
        raise ArchiveError("E705", what, archive, FIX)


def _copy(archive: Path, member: Member, target: Path) -> None:
    """Exactly as many bytes as were declared: an entry that holds more is a bomb, one that holds less is cut."""
    left = member.size
    with member.open() as source, open(target, "xb") as out:
        while block := source.read(min(BLOCK, left + 1)):
            left -= len(block)
            if left < 0:
                break
            out.write(block)
    if left:
        raise ArchiveError("E705", f"holds another number of bytes than declared in {member.name!r}", archive, FIX)


def _tar_members(opened: tarfile.TarFile) -> Iterator[Member]:
    kinds = {tarfile.SYMTYPE: "symbolic link", tarfile.LNKTYPE: "hard link", tarfile.FIFOTYPE: "named pipe"}
    for info in opened:
        kind = "file" if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else "folder" if info.isdir() else "device"
        kind = "sparse file" if info.issparse() else kinds.get(info.type, kind)
        yield Member(info.name, kind, info.size, lambda info=info: opened.extractfile(info))


def _zip_members(opened: zipfile.ZipFile) -> Iterator[Member]:
    for info in opened.infolist():
        kind = "folder" if info.is_dir() else "file"
        if (info.external_attr >> 16) & 0o170000 not in (0, 0o100000, 0o040000):
            kind = "link or device"
        yield Member(info.orig_filename, kind, info.file_size, lambda info=info: opened.open(info))


def _data_of_deb(file: BinaryIO, archive: Path) -> BinaryIO:
    """The member data.tar.* of a Debian package, which is an `ar` archive of few, unaligned entries."""
    file.seek(len(AR_MAGIC))
    while len(head := file.read(AR_HEADER)) == AR_HEADER:
        size = int(head[48:58]) if re.fullmatch(rb"[0-9]{1,10} *", head[48:58]) else -1
        if size < 0 or head[58:] != b"`\n":
            break
        if head.startswith(b"data.tar"):
            content = file.read(size)
            if len(content) < size:
                break
            return io.BytesIO(content)
        file.seek(size + size % 2, 1)
    raise ArchiveError("E705", "is no whole Debian package with data", archive, FIX)
