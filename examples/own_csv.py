"""From a table of your own to recommendations, in three lines: ``python examples/own_csv.py``."""

import pandas as pd

from recbole_raserec import Recommender

# In place of pd.read_csv("orders.csv"): 60 customers, each of whom buys part n + 1 the day after part n
orders = pd.DataFrame(
    [
        {"customer": f"c{c}", "product": f"part {(c + day) % 30}", "date": pd.Timestamp(2024, 1, 1 + day)}
        for c in range(60)
        for day in range(4 + c % 9)
    ]
)
recommender = Recommender.fit(orders, user="customer", item="product", time="date", epochs=60)
print(recommender.recommend([["part 3", "part 4"], ["part 20"]], k=2))
