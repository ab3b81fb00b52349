"""Parameters: RecBole's Config made strict, the table of all parameters, and words of the command line."""
