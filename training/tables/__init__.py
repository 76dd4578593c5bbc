"""The tables of the paper, each one command, in Markdown and LaTeX, with intervals, baselines and receipts."""
