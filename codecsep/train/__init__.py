"""Rung 5: the training loop and what it stands on."""
