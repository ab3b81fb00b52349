"""What the recommender is made of: requests, the catalogue, answers, reasons, and the memory by tokens."""
