"""How networks are built: one class, `PoseNet`, from the kinds in each slot; and what they cost."""
