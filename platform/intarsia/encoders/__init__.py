"""Encoders: text and images to unit vectors that carry the id of their vector space. Inference only; see `training` for
fits.
"""
