"""codecsep: speech separation with neural audio codecs and speech language models."""

__version__ = "0.1.0"
