"""Rung 1: what an integer means."""
