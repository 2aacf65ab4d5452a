"""Which networks to keep: drivers propose, the ladder measures, the ledger remembers."""
