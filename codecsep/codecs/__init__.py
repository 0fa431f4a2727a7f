"""Rung 3: wav <-> codes and features."""
