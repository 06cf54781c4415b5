"""Studies of deep matrix factorization: what a small start and depth lead to."""
