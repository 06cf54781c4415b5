"""The catalogue of claims: each wires derivation, integration and training into one check."""

from flowkit.claims.catalogue import all_claims as all_claims
