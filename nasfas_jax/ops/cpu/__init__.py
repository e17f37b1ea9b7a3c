"""Forms of operations and compiler settings that only the CPU needs."""
