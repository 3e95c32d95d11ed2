"""intarsia: multimodal product search and recommendation on Ray."""

__version__ = "0.1.0"
