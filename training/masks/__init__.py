"""Masks written as tokens: what trains the codecs."""
