"""Both ranking protocols in one pass, RecBole's metrics over them, and paired intervals."""
