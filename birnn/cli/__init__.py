"""The commands' signatures: arguments and help alone, so that ``--help`` stays fast."""
