"""Rung 4: one file per network of a paper."""
