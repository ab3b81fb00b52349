"""What the code needs of the machine: files, progress, processes, Ray, and workarounds for faults of RecBole."""
