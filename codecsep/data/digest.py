"""The SHA-256 of a file."""

import hashlib
from pathlib import Path

BLOCK = 2**20


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def text_sha256(text: str) -> str:
    """Hex SHA-256 of a text in UTF-8."""
    return bytes_sha256(text.encode("utf-8", errors="replace"))


def bytes_sha256(content: bytes) -> str:
    """Hex SHA-256 of bytes in memory."""
    return hashlib.sha256(content).hexdigest()
