"""Parameters: a strict version of RecBole's Config, the table of all parameters, and command line arguments."""
