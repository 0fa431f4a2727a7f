"""Rung 6: one file per thing that a recipe runs."""
