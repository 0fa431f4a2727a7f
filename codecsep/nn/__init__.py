"""Rung 2: tensors -> tensors."""
