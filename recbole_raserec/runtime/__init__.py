"""The machine: files, progress, several processes, Ray, and shims for faults of RecBole."""
