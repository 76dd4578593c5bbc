"""Metrics with sources, intervals and baselines, and the evaluation of a model on a dataset."""
