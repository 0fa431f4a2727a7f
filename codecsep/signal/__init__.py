"""Rung 1: numbers about waveforms."""
