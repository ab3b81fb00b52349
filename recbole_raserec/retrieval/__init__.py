"""The memory bank, its FAISS index and the attention that mixes memories into a user vector."""
