"""Text and pictures to unit vectors that carry the name of their space. Which products to encode when is `pipelines/`' matter."""
