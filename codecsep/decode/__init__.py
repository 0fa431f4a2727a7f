"""Rung 3: logits -> tokens."""
