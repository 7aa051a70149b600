"""Cases, peers and tables; `bench/` only wraps them for pytest-benchmark."""
