"""Ensembles of fusion methods: bagging, boosting, stacking, and cross-fitting."""
