"""Receipts: what a number was measured with, kept so that anyone can measure it again."""
