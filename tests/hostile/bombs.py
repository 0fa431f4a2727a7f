"""What hostile pickles are made of."""

import subprocess


class Bomb:
    """An object whose unpickling makes the canary."""

    def __init__(self, canary):
        self.canary = canary

    def __reduce__(self):
        return subprocess.call, (["touch", str(self.canary)],)
