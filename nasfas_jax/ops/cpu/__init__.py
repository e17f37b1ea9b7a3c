"""Forms and settings that only the CPU needs."""
