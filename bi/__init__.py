"""`make bi`: the BI tools that config/ has recipes for, run over a mirror and held against it."""
