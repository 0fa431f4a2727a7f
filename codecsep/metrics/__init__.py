"""Rung 2: scores."""
