"""Detection in pure torch: no network, no storage, no environment. The same code on CUDA and CPU."""
