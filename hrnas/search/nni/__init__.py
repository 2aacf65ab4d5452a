"""Let NNI's experiment manager run a study's evaluations, for those who want its web page.

    hrnas search ── engine: an evaluator that posts a job and waits for its answer          (asks, claims, remembers)
      └─ keeper: holds NNI's Experiment; ends it when `hrnas search` ends, however it ends  (session of its own)
           └─ NNI's manager (node, the page)
                ├─ NNI's dispatcher with our tuner: hands the posted jobs to NNI, in order
                └─ a trial: runs the study's evaluator on one job, and writes the answer

The search itself is the same as without NNI: the driver proposes, the ledger remembers, and a killed study goes on from
the ledger with a new experiment. Every process carries a mark in its environment, by which the rest is found and ended.
"""
