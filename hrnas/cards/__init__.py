"""The cards a user writes: a study card names a space card and a trainer card."""
