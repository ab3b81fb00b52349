"""Dataset regeneration (DR4SR, arXiv 2405.17795): short, informative transition patterns from training sequences."""
