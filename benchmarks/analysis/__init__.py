"""Analysis: from blocks of samples to medians, noise floors, winners and comparisons."""
