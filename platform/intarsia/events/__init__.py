"""User events and judged sets: cleaning, deduplication, the feedback journal."""
