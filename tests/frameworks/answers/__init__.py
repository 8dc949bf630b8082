"""Answers of every framework beyond a pass: written one token after another, and with kernels in int8."""
