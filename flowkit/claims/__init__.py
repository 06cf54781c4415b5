"""The catalogue of claims: each wires derivation, integration and training into one check."""
