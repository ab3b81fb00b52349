"""Dataset regeneration (DR4SR, arXiv 2405.17795): training sequences -> short, informative transition patterns."""
