"""All tests: one folder per room, the layers, the browser, the benchmarks."""
