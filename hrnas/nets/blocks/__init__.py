"""Blocks, one file per paper: rows, attention, and the stems, fusions, contexts and heads that the paper brings.

A row maps the features of all resolutions, finest first, to features of the same shapes: a list of tensors to a list of
tensors. A block that minds one resolution is lifted to a row by `Lifted`. `hrnas/nets/tables.py` lists them all.
"""
