"""Rung 0: bytes on disk <-> arrays."""
