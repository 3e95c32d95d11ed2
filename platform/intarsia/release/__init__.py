"""The life of a release: staged as an immutable bundle, opened only when every digest matches, promoted through a gate, rolled back."""
