"""Entities: spans of words that tags mark, what tags may follow one another, and how found spans are scored."""
