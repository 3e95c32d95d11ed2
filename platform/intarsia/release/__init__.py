"""Releases: staged as an immutable bundle, verified by digest when opened, promoted through a gate, rolled back."""
