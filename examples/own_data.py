"""From a text file to a result, in Python: python examples/own_data.py FILE

FILE holds a user a line, "user item item ...", oldest first.
"""

import sys

from recbole_raserec import convert, run

convert(sys.argv[1], data_format="sequences", dataset="mine", data_path="dataset")
result = run(dataset="mine", config_dict={"data_path": "dataset", "epochs": 20, "finetune_epochs": 20})
for protocol, improvement in (("unmasked", "improvement"), ("masked", "improvement_masked")):
    percent, low, high = result[improvement]["ndcg@10"]
    print(f"{protocol}: NDCG@10 {percent:+.1f} % [{low:+.1f}, {high:+.1f}] over {result['backbone']['name']}")
