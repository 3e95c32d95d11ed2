"""Ingest of product catalogs: read raw files, map columns, clean rows, group duplicates, write products."""
