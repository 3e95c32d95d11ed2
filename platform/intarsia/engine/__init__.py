"""What serving runs: encode, retrieve, fuse, rank, replay."""
