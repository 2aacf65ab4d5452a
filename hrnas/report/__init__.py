"""What we saw: ledger -> facts -> figures -> page. Reads the ledger and the run folder, nothing else; never torch.

This file stays empty so that `hrnas.report.facts` costs neither plotly nor jinja2.
"""
