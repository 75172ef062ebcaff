"""moalign: define the rewards you care about; get the whole front of models."""
