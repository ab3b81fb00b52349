"""The memory bank, its FAISS index, and the attention and mixture that use the retrieved memories."""
