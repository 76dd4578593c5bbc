"""Recipes: training runs written as data."""
