"""Judging: the yardstick of a case, the verdict on a result, and the known mistake that explains a wrong one."""
