"""Importers: what others publish of models and prices, read into entries of this registry."""
